"""Label rows for the windows of a recording of any length."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ..configuration_jukebox import JukeboxPriorConfig
from ..sampling.request import SongConditioning
from ..sampling.window_labels import WindowLabels


def covered_length(config: JukeboxPriorConfig, num_samples: int) -> int:
    """Return the length of a recording for the timing labels: its own, within those that the prior was trained on."""
    rate = config.sampling_rate
    shortest, limit = math.ceil(config.min_duration * rate), math.ceil(config.max_duration * rate)
    return min(max(num_samples, shortest), limit - 1)


def labels_of_windows(labels: WindowLabels, song: SongConditioning) -> Callable[[int], torch.Tensor]:
    """Return a function from a window's first code to its label rows `[1, label_length]`.

    In a recording that is longer than the prior was trained on, windows stay at the last possible offset.
    """
    config = labels.config
    last = song.total_length - 1
    if config.has_timing:
        last = min(last, int(config.max_duration * config.sampling_rate) - config.window_length)

    def labels_at(start: int) -> torch.Tensor:
        # In codes, since the offset of a window is counted from that of its song.
        return labels.for_songs([song], [min(start, max(last - song.offset, 0) // config.hop_length)])

    return labels_at
