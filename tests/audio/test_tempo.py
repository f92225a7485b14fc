import numpy as np
import pytest

from hf_jukebox.audio.tempo import estimate_tempo

RATE = 22050


@pytest.mark.parametrize("tempo", [84.0, 100.0, 128.0, 150.0])
def test_the_tempo_of_a_beat_is_found(tempo: float) -> None:
    samples = np.random.default_rng(0).normal(0, 0.01, 12 * RATE).astype(np.float32)
    click = (np.sin(np.arange(800) / 5) * np.exp(-np.arange(800) / 150)).astype(np.float32)
    for beat in range(int(11.5 * tempo / 60)):
        start = round(beat * 60 / tempo * RATE)
        samples[start : start + 800] += click * (1.0 if beat % 4 else 1.5)
    assert estimate_tempo(samples, RATE) == pytest.approx(tempo, rel=0.01)


def test_what_has_no_beat_has_no_tempo() -> None:
    assert estimate_tempo(np.zeros(10 * RATE, np.float32), RATE) is None
    assert estimate_tempo(np.ones(RATE, np.float32), RATE) is None
    noise = np.random.default_rng(0).normal(0, 0.1, 20 * RATE).astype(np.float32)
    assert estimate_tempo(noise, RATE) is None
