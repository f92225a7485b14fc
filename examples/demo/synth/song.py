"""Composition of a piece from a seed: choose, arrange bar by bar, mix."""

from dataclasses import dataclass, replace

import numpy as np

from synth.drums import KITS, VARIANTS, drum_kit
from synth.styles import KEYS, MODE_NAMES, STYLES, Style
from synth.tones import BASSES, CHORDS, play

STEPS = 16  # per bar of four beats
PHRASE = 4  # bars; the last one ends in a fill
PEAK = 0.9

_VELOCITY = {"X": 1.0, "x": 0.75, "o": 0.35}
_DRUM_LEVEL = {
    "kick": 0.78,
    "snare": 0.60,
    "clap": 0.85,
    "rim": 0.36,
    "hat": 0.36,
    "open": 0.34,
    "shaker": 0.45,
    "crash": 0.34,
}
_TOM_LEVEL = 0.5
_BASS_LEVEL, _CHORD_LEVEL = 0.80, 0.55
_ECHO_STEPS, _ECHO_LEVEL = 3, 0.35  # of plucked chords
_BASS_LOWEST, _CHORD_LOWEST = 28, 55  # MIDI pitches: a bass from E1 up, chords from G3 up
_LATEST_IN_S = 0.004  # players are late by up to this much


@dataclass(frozen=True)
class Song:
    """Synthesised piece; `audio` is mono float32 [T] in [-0.9, 0.9]."""

    audio: np.ndarray
    sampling_rate: int
    bpm: float
    style: str
    kit: str
    key: str
    seed: int


@dataclass(frozen=True)
class _Arrangement:
    """Choices that are fixed throughout a piece."""

    style: Style
    kit: str
    bpm: float
    tonic: int  # pitch class
    mode: tuple[int, ...]
    degrees: tuple[int, ...]
    groove: dict[str, str]
    bass: tuple[str, str]  # sound, pattern
    chords: tuple[str, str]


def synthesize_song(seed: int, sampling_rate: int = 22050, seconds: float = 24.0, bpm: float | None = None) -> Song:
    """Compose and play a piece of `round(seconds * sampling_rate)` samples: the same seed gives the same piece.

    A longer piece begins with the shorter one. The tempo is that of the style unless `bpm` is given.

    Raises:
        ValueError: if seed is negative, or if seconds or sampling_rate (16 kHz at least: cymbals) is too small.
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}.")
    if sampling_rate < 16000:
        raise ValueError(f"sampling_rate must be at least 16000 Hz, got {sampling_rate}: the cymbals lie above 5 kHz.")
    length = round(seconds * sampling_rate)
    if length < 1:
        raise ValueError(f"seconds must be positive, got {seconds}.")

    rng = np.random.default_rng(seed)
    style_name = str(rng.choice(list(STYLES)))
    arrangement = _arrange(rng, STYLES[style_name])
    if bpm is not None:
        arrangement = replace(arrangement, bpm=bpm)
    bar_in_s = 4 * 60 / arrangement.bpm
    stage = _Stage(length, sampling_rate)
    for bar in range(int(np.ceil(seconds / bar_in_s))):
        _play_bar(stage, arrangement, bar, bar * bar_in_s, rng)
    key = next(name for name, pitch_class in KEYS.items() if pitch_class == arrangement.tonic)
    return Song(
        audio=stage.mix(arrangement.style.ducking),
        sampling_rate=sampling_rate,
        bpm=arrangement.bpm,
        style=style_name,
        kit=arrangement.kit,
        key=f"{key} {MODE_NAMES[arrangement.mode]}",
        seed=seed,
    )


def _arrange(rng: np.random.Generator, style: Style) -> _Arrangement:
    mode, degrees = style.progressions[rng.integers(len(style.progressions))]
    return _Arrangement(
        style=style,
        kit=str(rng.choice(KITS)),
        bpm=style.bpm,
        tonic=int(rng.choice(list(KEYS.values()))),
        mode=mode,
        degrees=degrees,
        groove=style.grooves[rng.integers(len(style.grooves))],
        bass=(str(rng.choice(style.bass_sounds)), style.basses[rng.integers(len(style.basses))]),
        chords=style.chords[rng.integers(len(style.chords))],
    )


class _Stage:
    """Tracks of a piece, to place sounds on."""

    def __init__(self, length: int, sampling_rate: int):
        self.sampling_rate = sampling_rate
        self.drums, self.bass, self.chords = (np.zeros(length, dtype=np.float32) for _ in range(3))
        self.kicks: list[int] = []

    def put(self, track: np.ndarray, start_in_s: float, sound: np.ndarray, level: float) -> None:
        start = round(start_in_s * self.sampling_rate)
        room = len(track) - start
        if room > 0:
            track[start : start + len(sound)] += np.float32(level) * sound[:room]

    def mix(self, ducking: float) -> np.ndarray:
        """Sum the tracks, softly limited to PEAK; with ducking, the kick attenuates bass and chords."""
        gain = np.ones(len(self.drums), dtype=np.float32)
        recovery = np.arange(round(0.22 * self.sampling_rate)) / (0.22 * self.sampling_rate)
        dip = (1 - ducking * (1 - recovery) ** 2).astype(np.float32)
        for kick in self.kicks:
            part = gain[kick : kick + len(dip)]
            np.minimum(part, dip[: len(part)], out=part)
        mixed = self.drums + gain * (self.bass + self.chords)
        return PEAK * np.tanh(mixed / PEAK)


def _play_bar(stage: _Stage, song: _Arrangement, bar: int, start_in_s: float, rng: np.random.Generator) -> None:
    step_in_s = 60 / song.bpm / 4
    last_of_phrase = bar % PHRASE == PHRASE - 1
    drums = _with_fill(song, rng) if last_of_phrase else song.groove
    if bar > 0 and bar % (2 * PHRASE) == 0:
        drums = {**drums, "crash": "X" + "." * (STEPS - 1)}
    times = start_in_s + step_in_s * (np.arange(STEPS) + song.style.swing * (np.arange(STEPS) % 2))

    kit = drum_kit(song.kit, stage.sampling_rate)
    for voice, pattern in drums.items():
        for step, mark in enumerate(pattern.replace(" ", "")):
            if mark == ".":
                continue
            level = _DRUM_LEVEL.get(voice, _TOM_LEVEL) * _VELOCITY[mark] * rng.uniform(0.9, 1.0)
            late = 0.0 if voice == "kick" else rng.uniform(0, _LATEST_IN_S)
            stage.put(stage.drums, times[step] + late, kit[voice][rng.integers(VARIANTS)], level)
            if voice == "kick":
                stage.kicks.append(round(times[step] * stage.sampling_rate))

    degree = song.degrees[bar % len(song.degrees)]
    bass_sound, bass_pattern = song.bass
    if last_of_phrase:
        bass_pattern = bass_pattern.replace(" ", "")[: -len(song.style.pickup)] + song.style.pickup
    for step, held, mark in _notes(bass_pattern):
        pitches = (_bass_pitch(song, degree, mark),)
        sound = play(BASSES[bass_sound], pitches, _gate(step_in_s * held, stage), stage.sampling_rate)
        stage.put(stage.bass, times[step], sound, _BASS_LEVEL * rng.uniform(0.9, 1.0))

    chord_sound, chord_pattern = song.chords
    for step, held, _ in _notes(chord_pattern):
        pitches = _chord_pitches(song, degree)
        sound = play(CHORDS[chord_sound], pitches, _gate(step_in_s * held, stage), stage.sampling_rate)
        level = _CHORD_LEVEL * rng.uniform(0.9, 1.0)
        stage.put(stage.chords, times[step], sound, level)
        if chord_sound == "pluck":
            stage.put(stage.chords, times[step] + _ECHO_STEPS * step_in_s, sound, _ECHO_LEVEL * level)


def _gate(seconds: float, stage: _Stage) -> int:
    return round(0.95 * seconds * stage.sampling_rate)


def _with_fill(song: _Arrangement, rng: np.random.Generator) -> dict[str, str]:
    """Join the groove up to the start of a fill with the fill; cymbals and shakers continue under it."""
    fill = {
        voice: pattern.replace(" ", "")
        for voice, pattern in song.style.fills[rng.integers(len(song.style.fills))].items()
    }
    begin = min(len(pattern) - len(pattern.lstrip(".")) for pattern in fill.values())
    bar = {}
    for voice in dict.fromkeys([*song.groove, *fill]):
        groove = song.groove.get(voice, "." * STEPS).replace(" ", "")
        goes_on = voice in ("hat", "open", "shaker") and voice not in fill
        bar[voice] = groove if goes_on else groove[:begin] + fill.get(voice, "." * STEPS)[begin:]
    return bar


def _notes(pattern: str) -> list[tuple[int, int, str]]:
    """Yield (step, length in steps, mark) of every note of a bass or chord pattern."""
    marks = pattern.replace(" ", "")
    notes = []
    for step, mark in enumerate(marks):
        if mark not in ".-":
            held = len(marks[step + 1 :]) - len(marks[step + 1 :].lstrip("-"))
            notes.append((step, 1 + held, mark))
    return notes


def _scale_pitch_class(song: _Arrangement, degree: int) -> int:
    return (song.tonic + song.mode[degree % 7]) % 12


def _bass_pitch(song: _Arrangement, degree: int, mark: str) -> int:
    root = _BASS_LOWEST + (_scale_pitch_class(song, degree) - _BASS_LOWEST) % 12
    if mark in "18":
        return root + (12 if mark == "8" else 0)
    tone = _scale_pitch_class(song, degree + int(mark) - 1)
    return root + (tone - root) % 12


def _chord_pitches(song: _Arrangement, degree: int) -> tuple[int, ...]:
    """Return a power chord, triad or seventh chord, all in the same octave, so that voices move by small steps."""
    if song.style.voices == 2:
        low = _CHORD_LOWEST - 12
        root = low + (_scale_pitch_class(song, degree) - low) % 12
        return (root, root + 7, root + 12)
    tones = [_scale_pitch_class(song, degree + 2 * voice) for voice in range(song.style.voices)]
    return tuple(sorted(_CHORD_LOWEST + (tone - _CHORD_LOWEST) % 12 for tone in tones))
