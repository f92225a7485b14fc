"""The package that plots need."""

from __future__ import annotations

import importlib.util


def check_can_plot() -> None:
    """Check that matplotlib is installed, before what is to be plotted is computed.

    Raises:
        OSError: it is not.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise OSError(
            "Plots need matplotlib; install it with: pip install 'hf_jukebox[study]', or leave the plots out."
        )
