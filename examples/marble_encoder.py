"""A Jukebox encoder for benchmarks of music representations in the manner of MARBLE (Yuan et al. 2023).

Such benchmarks ask an encoder for the hidden states of every layer, `[B, T, features]` each, of waveforms `[B, T]` at
its rate, and train a small probe on a layer or on a weighted sum of all. Copy this class into the encoders of your
benchmark, and derive it from their base class. Run as a script, it embeds a recording and prints the shapes:

    python examples/marble_encoder.py examples/prompt.wav
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from torch import nn

from hf_jukebox import DEMO_MODEL, JukeboxPipeline
from hf_jukebox.audio import read_audio


class JukeboxEncoder(nn.Module):
    """Frozen encoder: the hidden states of a top prior, averaged over frames.

    Args:
        model: Folder or repository of a pipeline. Only the weights up to the highest layer are read.
        layers: Layers to return; by default the first half, and 36 of 72 is the one of jukemir.
        frames_per_second: Rate of the frames; the codes of the 5B models come at 344.5 per second.
        dtype: Precision of the blocks.
    """

    def __init__(
        self,
        model: str = DEMO_MODEL,
        layers: Sequence[int] | None = None,
        frames_per_second: float = 10.0,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.pipe = JukeboxPipeline.from_pretrained(model, low_memory=True, dtype=dtype).to(device)
        config = self.pipe.priors[-1].config
        self.layers = tuple(layers or range(config.num_hidden_layers // 2 + 1))
        self.sampling_rate = self.pipe.sampling_rate
        self.num_features = config.hidden_size
        self.frames_per_second = frames_per_second

    def forward(self, waveforms: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return `[B, frames, num_features]` per layer, from waveforms `[B, T]` or `[B, 1, T]` of one length."""
        clips = list(waveforms.flatten(1).cpu().numpy())
        out = self.pipe.embed(
            clips, layers=self.layers, pool=1 / self.frames_per_second, sampling_rate=self.sampling_rate
        )
        states = torch.stack([torch.from_numpy(frames) for frames in out.embeddings])  # [B, frames, layers, features]
        return states.to(waveforms.device).unbind(2)


if __name__ == "__main__":
    encoder = JukeboxEncoder()
    audio = torch.from_numpy(read_audio(sys.argv[1], encoder.sampling_rate).copy())
    for layer, states in zip(encoder.layers, encoder(audio[None]), strict=True):
        print(f"layer {layer}: {list(states.shape)}")
