"""A small band, synthesised with numpy: drum kits, basses and chords in several styles."""

from synth.drums import KITS
from synth.song import PEAK, Song, synthesize_song
from synth.styles import STYLES

__all__ = ["KITS", "PEAK", "STYLES", "Song", "synthesize_song"]
