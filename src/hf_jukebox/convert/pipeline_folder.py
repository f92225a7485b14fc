"""Writing the folder of a pipeline, atomically."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import diffusers
import torch
from safetensors import SafetensorError, safe_open

from ..configuration_jukebox import JukeboxVQVAEConfig
from ..files.atomic import new_folder
from ..hierarchy import Hierarchy, code_fingerprint, fitting_tokenizer, shapes_codes
from ..sharing.cards import CARD
from ..sharing.model_cards import Origin, pipeline_card

PathLike = str | os.PathLike[str]

_MAX_LEVELS = 3  # of a pipeline
_UNFINISHED = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")  # names of `files.atomic.new_folder`


@contextmanager
def new_pipeline_folder(output: PathLike) -> Iterator[Path]:
    """Yield a temporary folder that becomes `output` at the end, and is removed if anything fails.

    Raises:
        OSError: `output` is a file or holds files, or cannot be written.
    """
    output = Path(output).absolute()
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output} is a file; name a new folder for the output.")
    if output.is_dir() and any(output.iterdir()):
        raise FileExistsError(f"{output} is not empty; name a new folder for the output.")
    with new_folder(output) as unfinished:
        yield unfinished


def check_one_per_level(vqvae: JukeboxVQVAEConfig, num_priors: int) -> None:
    """Check that there is one prior per level.

    Raises:
        ValueError: there are fewer or more priors, or too many levels for a pipeline.
    """
    if vqvae.num_levels > _MAX_LEVELS:
        raise ValueError(f"The VQ-VAE has {vqvae.num_levels} levels, but a pipeline has at most {_MAX_LEVELS}.")
    if num_priors != vqvae.num_levels:
        raise ValueError(
            f"The VQ-VAE has {vqvae.num_levels} levels, but the number of priors is {num_priors}; give one per level, "
            "finest first."
        )


def stored_fingerprint(vqvae: Path) -> str:
    """Return the fingerprint of the codes of a VQ-VAE from its folder, without loading the model.

    Raises:
        OSError: a file is missing, damaged or cannot be read.
        ValueError: the config is not that of a VQ-VAE.
    """
    config = JukeboxVQVAEConfig.from_dict(JukeboxVQVAEConfig._dict_from_json_file(vqvae / "config.json"))
    tensors: dict[str, torch.Tensor] = {}
    for path in [*vqvae.glob("model.safetensors"), *vqvae.glob("model-*.safetensors")]:
        try:
            with safe_open(path, framework="pt") as file:
                tensors |= {name: file.get_tensor(name) for name in filter(shapes_codes, file.keys())}
        except SafetensorError as error:
            raise OSError(f"{path} is damaged or cut short ({error}); copy or download it again.") from error
    return code_fingerprint(config, tensors)


def write_pipeline(folder: Path, hierarchy: Hierarchy, origin: Origin) -> None:
    """Write the tokenizer, index and card that make the folders `vqvae`, `prior_0` ... a pipeline.

    Args:
        origin: Where it comes from, for README.md.
    """
    tokenizer = fitting_tokenizer(None, hierarchy)
    if tokenizer is not None:
        tokenizer.save_pretrained(str(folder / "tokenizer"))
    parts = {"vqvae": "JukeboxVQVAE", "tokenizer": "JukeboxTokenizer" if tokenizer is not None else None}
    for level in range(_MAX_LEVELS):
        parts[f"prior_{level}"] = "JukeboxPrior" if level < hierarchy.num_levels else None
    index = {"_class_name": "JukeboxPipeline", "_diffusers_version": diffusers.__version__} | {
        name: [class_name and "hf_jukebox", class_name] for name, class_name in parts.items()
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    unfinished = _UNFINISHED.fullmatch(folder.name)
    card = pipeline_card(unfinished[1] if unfinished else folder.name, hierarchy.vqvae, hierarchy.priors, origin=origin)
    (folder / CARD).write_text(card.text(), encoding="utf-8")
