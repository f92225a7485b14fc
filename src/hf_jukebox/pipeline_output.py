"""Output of a pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.utils import BaseOutput

from .audio import write_audio
from .files.text import user_path
from .loading.sources import PathLike

Waveforms = np.ndarray | torch.Tensor


@dataclass
class JukeboxPipelineOutput(BaseOutput):
    """Output of a pipeline.

    Attributes:
        audios: `[N, T]` float32 in [-1, 1], decoded from the finest level sampled; None for `output_type="latent"`.
        sampling_rate: Samples per second.
        codes: Codes of every level, finest first, `[N, T_level]`; they begin with those of the prompt. Levels that
            were not sampled hold only the codes given.
        level_audios: Audio decoded from each level, finest first; None for levels that were not sampled.
        avoided: Where a catalogue was avoided, the price in bits of each position at which codes were excluded, per
            level (finest first) and song; None otherwise.
    """

    audios: Waveforms | None
    sampling_rate: int
    codes: list[torch.Tensor]
    level_audios: list[Waveforms | None]
    avoided: list[list[dict[int, float]]] | None = None

    def save(self, folder: PathLike) -> list[Path]:
        """Write `folder/level_L/item_N.wav` for every level sampled; return the paths, finest level first."""
        folder, paths = user_path(folder), []
        for level, audios in enumerate(self.level_audios):
            for item, audio in enumerate([] if audios is None else audios):
                path = folder / f"level_{level}" / f"item_{item}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_audio(path, np.asarray(audio), self.sampling_rate, is_machine_made=True)
                paths.append(path)
        return paths
