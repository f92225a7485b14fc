"""Origin of a converted or assembled pipeline, for its card."""

from __future__ import annotations

from collections.abc import Sequence

from ..sharing.cards import repositories
from ..sharing.model_cards import Origin
from ..sharing.quoting import as_words


def converted_card(sources: Sequence[str]) -> Origin:
    """Return the origin of converted checkpoints with the names `sources`."""
    text = f"Converted from {', '.join(map(as_words, sources))} for hf_jukebox; the weights are unchanged."
    return Origin(text, repositories(*sources))


def assembled_card(sources: Sequence[str]) -> Origin:
    """Return the origin of an assembled pipeline; `sources` are the names of its parts, the VQ-VAE's first."""
    parts = [
        f"- VQ-VAE: {as_words(sources[0])}",
        *(f"- level {level}: {as_words(name)}" for level, name in enumerate(sources[1:])),
    ]
    text = "Assembled from these parts, whose licences all apply:\n\n" + "\n".join(parts)
    return Origin(text, repositories(*sources), "merge")
