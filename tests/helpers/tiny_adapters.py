"""Small random adapters, as training saves them."""

from pathlib import Path

import torch

from hf_jukebox import JukeboxPrior
from hf_jukebox.training.lora import add_adapter, merged_weights, save_adapter


def write_random_adapter(prior: JukeboxPrior, folder: Path, seed: int, artist: tuple[str, int] | None = None) -> None:
    """Write an adapter of a prior to `folder/adapter`, and the merged prior beside it; the prior is changed.

    Args:
        artist: A new name and the row of the label table that it takes over.
    """
    own = {"artists": dict(prior.config.artists or {}), "genres": dict(prior.config.genres or {})}
    if artist is not None:
        kept = {name: row for name, row in own["artists"].items() if row != artist[1]}
        prior.config.artists = kept | dict([artist])
    config = add_adapter(prior, 2, own_names=own)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in prior.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) / 3)
    weights = prior.state_dict()
    save_adapter(prior, weights, folder / "adapter")
    plain = JukeboxPrior(prior.config)
    plain.save_pretrained(folder, state_dict=merged_weights(weights, config))
