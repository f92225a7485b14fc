"""The listening page: one HTML file beside the audio of a run, to listen, compare and read along."""

from .listening_page import Candidate, Grid, ListeningPage, write_listening_page
from .lyric_timing import LyricTiming

__all__ = ["Candidate", "Grid", "ListeningPage", "LyricTiming", "write_listening_page"]
