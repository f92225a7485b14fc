"""Bass and chord sounds: band-limited wavetables whose brightness and loudness follow envelopes."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from synth.drums import band_pass

_TABLE = 2048  # samples of one period; read with linear interpolation


@dataclass(frozen=True)
class Tone:
    """Instrument, with times in seconds and cut-off frequencies in Hz."""

    slope: float  # harmonic k has amplitude k ** -slope: 1 is a sawtooth, large is nearly a sine
    bright: float  # low-pass cut-off when the note is struck ...
    dark: float  # ... and when the brightness has died away
    fall: float  # time constant of the brightness
    attack: float
    decay: float  # time constant of the loudness
    release: float
    sustain: float = 0.0  # part of the loudness that does not decay
    odd: bool = False  # odd harmonics only: hollow
    detune: float = 0.0  # cents between two oscillators
    tremolo: float = 0.0  # depth at 5.5 Hz
    drive: float = 0.0  # overdrive of the whole chord
    strum: float = 0.0  # delay from string to string
    level: float = 1.0


BASSES = {
    "finger": Tone(slope=1.3, bright=900, dark=260, fall=0.10, attack=0.004, decay=0.9, release=0.04),
    "synth": Tone(
        slope=1.0, bright=1600, dark=180, fall=0.09, attack=0.002, decay=0.5, release=0.02, sustain=0.4, level=0.9
    ),
    "sub": Tone(slope=2.4, bright=600, dark=150, fall=0.06, attack=0.005, decay=1.5, release=0.05, sustain=0.4),
}
CHORDS = {
    "electric_piano": Tone(
        slope=1.8, bright=2600, dark=500, fall=0.14, attack=0.003, decay=0.9, release=0.08, tremolo=0.25
    ),
    "pluck": Tone(
        slope=1.0, bright=5200, dark=350, fall=0.07, attack=0.002, decay=0.30, release=0.06, detune=9, level=1.1
    ),
    "pad": Tone(
        slope=1.1,
        bright=900,
        dark=900,
        fall=1.0,
        attack=0.12,
        decay=1.0,
        release=0.18,
        sustain=1.0,
        detune=12,
        level=0.8,
    ),
    "organ": Tone(
        slope=1.0,
        bright=1500,
        dark=1100,
        fall=0.05,
        attack=0.006,
        decay=1.0,
        release=0.03,
        sustain=1.0,
        odd=True,
        level=0.8,
    ),
    "nylon_guitar": Tone(
        slope=1.2, bright=3500, dark=600, fall=0.08, attack=0.002, decay=0.45, release=0.05, strum=0.006
    ),
    "crunch_guitar": Tone(
        slope=1.0,
        bright=2200,
        dark=900,
        fall=0.25,
        attack=0.003,
        decay=1.2,
        release=0.03,
        sustain=0.3,
        drive=2.5,
        strum=0.004,
        level=0.6,
    ),
}


def frequency(pitch: int) -> float:
    """Convert a MIDI pitch to Hz, A4 = 69 = 440 Hz."""
    return 440.0 * 2 ** ((pitch - 69) / 12)


@lru_cache(maxsize=1024)
def _period(pitch: int, slope: float, odd: bool, cutoff: float, sampling_rate: int) -> np.ndarray:
    """Return one period [_TABLE + 1] of a band-limited wave; the last sample repeats the first, for interpolation."""
    count = min(int(0.45 * sampling_rate / frequency(pitch)), 60)
    harmonic = np.arange(1, max(count, 1) + 1)
    amplitude = harmonic**-slope / (1 + (harmonic * frequency(pitch) / cutoff) ** 4) ** 0.5
    if odd:
        amplitude = np.where(harmonic % 2 == 1, amplitude, 0.0)
    phase = np.arange(_TABLE + 1) / _TABLE
    wave = amplitude @ np.sin(2 * np.pi * harmonic[:, None] * phase)
    return (wave / np.sqrt(np.mean(wave[:-1] ** 2))).astype(np.float32)


def _read(table: np.ndarray, cycles: np.ndarray) -> np.ndarray:
    position = (cycles % 1.0) * _TABLE
    left = position.astype(np.int64)
    return table[left] + (position - left).astype(np.float32) * (table[left + 1] - table[left])


def _note(tone: Tone, pitch: int, gate: int, sampling_rate: int) -> np.ndarray:
    """Synthesise one note, held for `gate` samples and released."""
    time = np.arange(gate + round(tone.release * sampling_rate)) / sampling_rate
    brightness = np.exp(-time / tone.fall).astype(np.float32)
    sound = np.zeros(len(time), dtype=np.float32)
    for cents in (-tone.detune / 2, tone.detune / 2) if tone.detune else (0.0,):
        cycles = frequency(pitch) * 2 ** (cents / 1200) * time
        bright = _read(_period(pitch, tone.slope, tone.odd, tone.bright, sampling_rate), cycles)
        dark = _read(_period(pitch, tone.slope, tone.odd, tone.dark, sampling_rate), cycles)
        sound += dark + brightness * (bright - dark)
    loudness = tone.sustain + (1 - tone.sustain) * np.exp(-time / tone.decay)
    loudness *= np.minimum(1.0, time / tone.attack) * np.clip((time[-1] - time) / tone.release, 0.0, 1.0)
    loudness *= 1 - tone.tremolo * (0.5 - 0.5 * np.cos(2 * np.pi * 5.5 * time))
    return sound * loudness.astype(np.float32) / (2 if tone.detune else 1)


@lru_cache(maxsize=128)
def play(tone: Tone, pitches: tuple[int, ...], gate: int, sampling_rate: int) -> np.ndarray:
    """Synthesise a chord (or one note) [T] float32, held for `gate` samples, with release; about 0.2 RMS at first."""
    strum = round(tone.strum * sampling_rate)
    sound = np.zeros(gate + round(tone.release * sampling_rate) + strum * (len(pitches) - 1), dtype=np.float32)
    for string, pitch in enumerate(pitches):
        note = _note(tone, pitch, gate, sampling_rate)
        sound[string * strum : string * strum + len(note)] += note
    sound *= 0.2 / len(pitches) ** 0.5
    if tone.drive:
        sound = band_pass(np.tanh(tone.drive * sound), 90, 3200, sampling_rate, order=2).astype(np.float32)
    return tone.level * sound
