"""K weighting, by which loudness is measured."""

from __future__ import annotations

import numpy as np

# Coefficients of both filters at 48 kHz (ITU-R BS.1770-5, annex 1, tables 1 and 2): b and a.
_FILTERS = (
    ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)),
    ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)


def k_weights(hertz: np.ndarray) -> np.ndarray:
    """Return the squared magnitude of the K weighting at frequencies, `[n]`; that of 24 kHz above it."""
    z = np.exp(-2j * np.pi * np.minimum(hertz, 24000) / 48000)
    weights = np.ones(len(hertz))
    for b, a in _FILTERS:
        weights *= np.abs(np.polyval(b[::-1], z) / np.polyval(a[::-1], z)) ** 2
    return weights
