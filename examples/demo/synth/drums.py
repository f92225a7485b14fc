"""Three synthesised drum kits: falling sines for skins, filtered noise for wires, inharmonic partials for metal."""

from functools import lru_cache

import numpy as np

KITS = ("acoustic", "808", "909")
VARIANTS = 3  # per sound, played in turn, as noise differs between hits of a real drum

# Six inharmonic square waves, the frequencies of the TR-808 cymbal circuit, for all metal sounds.
_METAL_IN_HZ = np.array([205.3, 304.4, 369.6, 522.7, 540.0, 800.0])


def _time(seconds: float, sampling_rate: int) -> np.ndarray:
    return np.arange(round(seconds * sampling_rate)) / sampling_rate


def _decay(time: np.ndarray, seconds: float) -> np.ndarray:
    """Return an exponential decay by 60 dB in `seconds`, with a final fade against clicks."""
    fade = np.minimum(1.0, (time[-1] - time) / 0.005)
    return np.exp(-6.9 * time / seconds) * fade


def _attack(time: np.ndarray, seconds: float) -> np.ndarray:
    return np.minimum(1.0, time / seconds)


def band_pass(sound: np.ndarray, low: float, high: float, sampling_rate: int, order: int = 4) -> np.ndarray:
    """Apply a zero-phase filter [T] -> [T] with the magnitude of Butterworth slopes at `low` and `high` Hz."""
    frequency = np.fft.rfftfreq(2 * len(sound), 1 / sampling_rate)  # twice the length: no wrap-around
    gain = 1 / np.sqrt(1 + (frequency / high) ** (2 * order))
    if low > 0:
        gain[0] = 0.0
        gain[1:] /= np.sqrt(1 + (low / frequency[1:]) ** (2 * order))
    return np.fft.irfft(np.fft.rfft(sound, 2 * len(sound)) * gain)[: len(sound)]


def _skin(
    sampling_rate: int, *, top: float, pitch: float, sweep: float, decay: float, click: float = 0.0, length: float = 0.5
) -> np.ndarray:
    """Synthesise a skin: a sine that falls from `top` to `pitch` Hz with time constant `sweep` (s), and a click."""
    time = _time(length, sampling_rate)
    cycles = pitch * time + (top - pitch) * sweep * (1 - np.exp(-time / sweep))
    body = np.sin(2 * np.pi * cycles) * _decay(time, decay)
    return body + click * np.sin(2 * np.pi * 1800 * time) * np.exp(-time / 0.0015)


def _noise(
    rng: np.random.Generator,
    sampling_rate: int,
    *,
    low: float,
    high: float,
    decay: float,
    length: float,
    attack: float = 0.0005,
) -> np.ndarray:
    """Synthesise a burst of noise between `low` and `high` Hz, peak 1 before its decay."""
    time = _time(length, sampling_rate)
    burst = band_pass(rng.standard_normal(len(time)), low, high, sampling_rate)
    return burst / np.abs(burst).max() * _attack(time, attack) * _decay(time, decay)


def _metal(sampling_rate: int, *, low: float, decay: float, length: float) -> np.ndarray:
    """Synthesise high-passed square waves at inharmonic frequencies, with odd harmonics up to the Nyquist frequency."""
    time = _time(length, sampling_rate)
    sound = np.zeros_like(time)
    for harmonic in range(1, 60, 2):
        partials = harmonic * _METAL_IN_HZ
        partials = partials[(partials > 0.6 * low) & (partials < 0.48 * sampling_rate)]
        sound += np.sin(2 * np.pi * partials[:, None] * time).sum(0) / harmonic
    sound = band_pass(sound, low, 0.48 * sampling_rate, sampling_rate)
    return sound / np.abs(sound).max() * _attack(time, 0.0005) * _decay(time, decay)


def _clap(rng: np.random.Generator, sampling_rate: int, *, low: float, high: float) -> np.ndarray:
    """Synthesise a clap: three short bursts of noise 11 ms apart, then a tail."""
    time = _time(0.3, sampling_rate)
    envelope = _decay(time, 0.28)
    for start in (0.0, 0.011, 0.022):
        envelope = np.where((time >= start) & (time < 0.033), np.exp(-(time - start) / 0.004), envelope)
    burst = band_pass(rng.standard_normal(len(time)), low, high, sampling_rate, order=2)
    return burst / np.abs(burst).max() * envelope


def _mix(*sounds: np.ndarray) -> np.ndarray:
    mixed = np.zeros(max(map(len, sounds)))
    for sound in sounds:
        mixed[: len(sound)] += sound
    return mixed


def _acoustic(rng: np.random.Generator, sr: int) -> dict[str, np.ndarray]:
    return {
        "kick": _mix(
            _skin(sr, top=150, pitch=58, sweep=0.020, decay=0.40, click=0.35, length=0.38),
            0.12 * _noise(rng, sr, low=200, high=2500, decay=0.05, length=0.06),
        ),
        "snare": _mix(
            0.55 * _skin(sr, top=240, pitch=192, sweep=0.02, decay=0.16, length=0.2),
            0.2 * _skin(sr, top=340, pitch=330, sweep=0.02, decay=0.10, length=0.2),
            0.6 * _noise(rng, sr, low=900, high=8000, decay=0.22, length=0.24),
        ),
        "clap": _mix(
            0.5 * _skin(sr, top=300, pitch=240, sweep=0.01, decay=0.08, length=0.1),
            0.8 * _clap(rng, sr, low=900, high=5000),
        ),
        "rim": _mix(
            0.6 * _skin(sr, top=480, pitch=460, sweep=0.01, decay=0.05, length=0.08),
            0.5 * _skin(sr, top=1150, pitch=1120, sweep=0.01, decay=0.03, length=0.08),
            0.2 * _noise(rng, sr, low=1500, high=7000, decay=0.02, length=0.03),
        ),
        "hat": _mix(
            0.5 * _metal(sr, low=6000, decay=0.07, length=0.08),
            0.6 * _noise(rng, sr, low=6500, high=10500, decay=0.06, length=0.08),
        ),
        "open": _mix(
            0.5 * _metal(sr, low=5500, decay=0.40, length=0.36),
            0.5 * _noise(rng, sr, low=6000, high=10500, decay=0.36, length=0.36),
        ),
        "shaker": _noise(rng, sr, low=4000, high=9000, decay=0.10, length=0.1, attack=0.018),
        "crash": _mix(
            0.5 * _metal(sr, low=2500, decay=1.6, length=1.3),
            0.6 * _noise(rng, sr, low=3000, high=10500, decay=1.3, length=1.3),
        ),
        "high_tom": _skin(sr, top=230, pitch=165, sweep=0.04, decay=0.35, click=0.15),
        "low_tom": _skin(sr, top=150, pitch=98, sweep=0.05, decay=0.42, click=0.15),
    }


def _tr808(rng: np.random.Generator, sr: int) -> dict[str, np.ndarray]:
    return {
        "kick": _skin(sr, top=130, pitch=49, sweep=0.012, decay=0.62, click=0.10, length=0.6),
        "snare": _mix(
            0.5 * _skin(sr, top=250, pitch=178, sweep=0.006, decay=0.16, length=0.2),
            0.35 * _skin(sr, top=340, pitch=332, sweep=0.006, decay=0.12, length=0.2),
            0.4 * _noise(rng, sr, low=2500, high=10000, decay=0.16, length=0.2),
        ),
        "clap": 0.9 * _clap(rng, sr, low=800, high=2200),
        "rim": _mix(
            0.7 * _skin(sr, top=1700, pitch=1670, sweep=0.01, decay=0.03, length=0.05),
            0.4 * _skin(sr, top=460, pitch=455, sweep=0.01, decay=0.03, length=0.05),
        ),
        "hat": 0.8 * _metal(sr, low=7000, decay=0.05, length=0.06),
        "open": 0.8 * _metal(sr, low=6500, decay=0.42, length=0.36),
        "shaker": 0.8 * _noise(rng, sr, low=5500, high=10500, decay=0.05, length=0.06, attack=0.008),
        "crash": 0.8 * _metal(sr, low=3500, decay=1.4, length=1.2),
        "high_tom": _skin(sr, top=185, pitch=160, sweep=0.05, decay=0.40),
        "low_tom": _skin(sr, top=110, pitch=88, sweep=0.05, decay=0.45),
    }


def _tr909(rng: np.random.Generator, sr: int) -> dict[str, np.ndarray]:
    return {
        "kick": np.tanh(1.8 * _skin(sr, top=260, pitch=52, sweep=0.024, decay=0.42, click=0.5, length=0.4)) / 0.95,
        "snare": _mix(
            0.5 * _skin(sr, top=330, pitch=200, sweep=0.012, decay=0.14, length=0.2),
            0.7 * _noise(rng, sr, low=700, high=9500, decay=0.24, length=0.25),
        ),
        "clap": _clap(rng, sr, low=900, high=3500),
        "rim": 0.9 * _skin(sr, top=560, pitch=520, sweep=0.01, decay=0.035, click=0.6, length=0.06),
        "hat": _mix(
            0.4 * _metal(sr, low=7500, decay=0.06, length=0.08),
            0.6 * _noise(rng, sr, low=7500, high=10500, decay=0.07, length=0.08),
        ),
        "open": _mix(
            0.4 * _metal(sr, low=6500, decay=0.45, length=0.4),
            0.6 * _noise(rng, sr, low=6500, high=10500, decay=0.45, length=0.4),
        ),
        "shaker": _noise(rng, sr, low=5000, high=10500, decay=0.08, length=0.08, attack=0.012),
        "crash": _mix(
            0.3 * _metal(sr, low=3000, decay=1.5, length=1.3),
            0.7 * _noise(rng, sr, low=3500, high=10500, decay=1.5, length=1.3),
        ),
        "high_tom": _skin(sr, top=300, pitch=150, sweep=0.03, decay=0.35, click=0.2),
        "low_tom": _skin(sr, top=200, pitch=92, sweep=0.03, decay=0.42, click=0.2),
    }


@lru_cache(maxsize=8)
def drum_kit(name: str, sampling_rate: int) -> dict[str, tuple[np.ndarray, ...]]:
    """Return `VARIANTS` of every sound of a kit, float32 [T] each, the same in every song."""
    strike = {"acoustic": _acoustic, "808": _tr808, "909": _tr909}[name]
    hits = [strike(np.random.default_rng(variant), sampling_rate) for variant in range(VARIANTS)]
    return {voice: tuple(hit[voice].astype(np.float32) for hit in hits) for voice in hits[0]}
