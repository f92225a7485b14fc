"""The listening page: one HTML file beside a run's audio, to listen, compare and read along."""

from .page import Candidate, Grid, ListeningPage, write_listening_page
from .sung import SungLyrics

__all__ = ["Candidate", "Grid", "ListeningPage", "SungLyrics", "write_listening_page"]
