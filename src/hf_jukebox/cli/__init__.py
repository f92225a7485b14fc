"""The command line, `hf-jukebox`."""

from .commands import app, main

__all__ = ["app", "main"]
