"""Model cards (README.md) of pipelines."""

from __future__ import annotations

from collections.abc import Sequence

_CARD = """---
library_name: hf_jukebox
pipeline_tag: audio-to-audio
tags:
- jukebox
- music
---

# A Jukebox pipeline

{origin}

The weights that OpenAI released for Jukebox may be used **for non-commercial purposes only**. {licence}

```python
from hf_jukebox import JukeboxPipeline

out = JukeboxPipeline.from_pretrained("this folder or repository")("prompt.wav")
out.save("continued")
```
"""


def converted_card(sources: Sequence[str]) -> str:
    """Write the card of converted checkpoints with the names `sources`."""
    return _CARD.format(
        origin=f"Converted from {', '.join(sources)} for hf_jukebox; the weights are unchanged.",
        licence="If these are such weights, the same applies to this copy.",
    )


def assembled_card(sources: Sequence[str]) -> str:
    """Write the card of an assembled pipeline; `sources` are the names of its parts, the VQ-VAE's first."""
    parts = [f"- VQ-VAE: {sources[0]}", *(f"- level {level}: {name}" for level, name in enumerate(sources[1:]))]
    return _CARD.format(
        origin="Assembled for hf_jukebox from these parts:\n\n" + "\n".join(parts),
        licence="The same applies to every part derived from them; the licences of all parts apply.",
    )
