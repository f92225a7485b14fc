"""A small random prior per attention order, label style and lyrics scheme, with fitting inputs and its steps."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.functional import get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file
from torch import nn

from hf_jukebox import JukeboxPrior, JukeboxPriorConfig
from hf_jukebox.modeling_prior import DecodeState
from hf_jukebox.sampling.logits import SamplingSettings
from hf_jukebox.sampling.single_prior import sample_codes

_BASE: dict[str, Any] = {
    "sampling_rate": 100,
    "hop_length": 4,
    "codebook_size": 11,
    "n_ctx": 24,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "attention_multiplier": 0.5,
    "attention_blocks": 4,
}
_LABELS = {
    "num_artists": 5,
    "num_genres": 4,
    "genre_words": 2,
    "num_time_bins": 16,
    "min_duration": 1.0,
    "max_duration": 60.0,
}
_UPSAMPLER = {
    "level": 0,
    "upsampling_strides": [2, 2],
    "conditioner_width": 8,
    "conditioner_depth": 4,
    "conditioner_dilation_cycle": 2,
}
_SEPARATE = _LABELS | {
    "lyrics_scheme": "separate",
    "alphabet": "abcdefgh",
    "n_lyrics": 8,
    "lyrics_loss_fraction": 0.4,
    "lyrics_hidden_size": 8,
    "lyrics_num_hidden_layers": 3,
    "lyrics_attention_blocks": 2,
    "alignment_head": 1,
}
# Six characters and four rows: a layer that reads the lyrics sees the first two codes as well.
_JOINT = _SEPARATE | {"lyrics_scheme": "joint", "n_lyrics": 6, "n_ctx": 26}

CONFIGS: dict[str, dict[str, Any]] = {
    "dense": {"attention_order": 0, "res_scale": True},
    "folded": {},
    "labelled": _LABELS,
    "merged": _LABELS | {"merged_decoder": True, "num_hidden_layers": 6},
    "lyrics_order_8": _SEPARATE | {"attention_order": 8, "num_hidden_layers": 10, "alignment_layer": 9},
    "lyrics_order_10": _SEPARATE
    | {"attention_order": 10, "num_hidden_layers": 20, "alignment_layer": 18, "merged_decoder": True},
    "joint_lyrics": _JOINT | {"attention_order": 12, "num_hidden_layers": 48, "alignment_layer": 31},
    "upsampler": _UPSAMPLER,
    "labelled_upsampler": _UPSAMPLER | _LABELS | {"conditioner_res_scale": True},
}


@dataclass
class Inputs:
    """Inputs of a prior."""

    codes: torch.Tensor
    upper_codes: torch.Tensor | None
    labels: torch.Tensor | None

    def __getitem__(self, songs: slice) -> "Inputs":
        upper = None if self.upper_codes is None else self.upper_codes[songs]
        labels = None if self.labels is None else self.labels[songs]
        return Inputs(self.codes[songs], upper, labels)


def randomize(model: nn.Module, seed: int = 0) -> None:
    """Make every weight large enough for an error anywhere to show, including those that start at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if "norm" in name:
                weight.copy_(0.2 * noise + name.endswith("weight"))
            elif "embedding" in name or name.endswith("bias"):
                weight.copy_(0.3 * noise)
            else:
                weight.copy_(noise / weight[0].numel() ** 0.5)


@lru_cache
def random_prior(name: str, dtype: torch.dtype = torch.float32) -> JukeboxPrior:
    """Return the prior of `CONFIGS[name]`, the same on every call: do not change it."""
    prior = JukeboxPrior(JukeboxPriorConfig(**(_BASE | CONFIGS[name])))
    randomize(prior)
    return prior.to(dtype).eval()


def random_inputs(config: JukeboxPriorConfig, batch_size: int = 2, seed: int = 0) -> Inputs:
    """Return a whole window of `batch_size` songs, all different."""
    generator = torch.Generator().manual_seed(seed)

    def integers(high: int, length: int, low: int = 0) -> torch.Tensor:
        return torch.randint(low, high, (batch_size, length), generator=generator)

    upper = labels = None
    if config.is_upsampler:
        upper = integers(config.codebook_size, config.n_ctx // config.upsampling_ratio)
    if config.has_labels:
        total = integers(round(config.max_duration * config.sampling_rate), 1, low=config.window_length * 10)
        offset = integers(config.window_length * 9, 1)
        window = torch.full_like(total, config.window_length)
        artist, genres = integers(config.num_artists, 1), integers(config.num_genres, config.genre_words, low=-1)
        labels = torch.cat(
            [total, offset, window, artist, genres, integers(config.lyrics_vocab_size, config.n_lyrics)], 1
        )
    return Inputs(integers(config.codebook_size, config.n_ctx), upper, labels)


def full_logits(prior: JukeboxPrior, inputs: Inputs) -> torch.Tensor:
    with torch.no_grad():
        return prior(inputs.codes, inputs.upper_codes, inputs.labels).logits


def step_logits(prior: JukeboxPrior, inputs: Inputs, known: int, state: DecodeState | None = None) -> torch.Tensor:
    """Return the logits `[B, n_ctx - known, codebook_size]` of steps over a window, prefilled with `known` codes."""
    state = state or prior.init_state(inputs.codes.shape[0])
    prior.prefill(state, inputs.codes[:, :known], inputs.upper_codes, inputs.labels)
    logits = [
        prior.step(state, inputs.codes[:, max(position - 1, 0)], torch.tensor([position]))
        for position in range(known, inputs.codes.shape[1])
    ]
    return torch.stack(logits, dim=1)


def sample_greedily(prior: JukeboxPrior, inputs: Inputs, known: int) -> torch.Tensor:
    """Return the codes `[B, n_ctx]` of a window, the most likely ones after the first `known` of `inputs.codes`."""
    return sample_codes(
        prior,
        prior.config.n_ctx,
        prefix=inputs.codes[:, :known],
        upper_codes=inputs.upper_codes,
        labels=inputs.labels,
        settings=SamplingSettings(temperature=1, top_k=1),
    )


def write_adapter(prior: JukeboxPrior, config: LoraConfig, folder: Path) -> None:
    """Put an adapter of peft's onto a prior, and write it as peft's own wrapper does."""
    inject_adapter_in_model(config, prior)
    config.save_pretrained(str(folder))
    weights = {f"base_model.model.{name}": weight for name, weight in get_peft_model_state_dict(prior).items()}
    save_file(weights, folder / "adapter_model.safetensors")
