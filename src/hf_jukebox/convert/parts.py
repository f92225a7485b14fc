"""Parts of a pipeline wherever a model is asked for: a model by itself, or a pipeline that contains it."""

from __future__ import annotations

import re
from typing import TypeVar

from ..files.text import listed, user_path
from ..loading.sources import PathLike, find_pipeline
from ..modeling_prior import JukeboxPrior
from ..modeling_vqvae import JukeboxVQVAE
from .by_name import converted_pipeline, is_cached_conversion

TOP_PRIOR = "prior"
_PART = re.compile(r"vqvae|prior_[0-9]")

Model = TypeVar("Model", JukeboxVQVAE, JukeboxPrior)


def load_part(model_class: type[Model], source: PathLike, part: str) -> Model:
    """Load a VQ-VAE or a prior from wherever `find_part` finds it.

    Raises:
        OSError, ValueError: see `find_part` and `from_pretrained`.
    """
    name, subfolder = find_part(source, part)
    model = model_class.from_pretrained(name, subfolder=subfolder)
    if is_cached_conversion(name):  # what was converted is the name to publish
        model.name_or_path = str(_without_part(source)[0])
    return model


def find_part(source: PathLike, part: str) -> tuple[str, str]:
    """Return the place of a model as the first argument of `from_pretrained`, and its subfolder there.

    Args:
        source: Folder or Hub repository of the model itself, or of a pipeline, also in the layout of transformers 4; or
            a part by its name, such as `me/my-jukebox/prior_1`.
        part: Part to take from a pipeline: `"vqvae"`, `"prior_0"` ... or `TOP_PRIOR`.

    Raises:
        OSError: there is nothing at that place.
        ValueError: it is a pipeline without that part, or cannot be converted.
    """
    source, named = _without_part(source)
    part = named or part
    found = find_pipeline(source, {})
    if found is None:
        return str(user_path(source)), ""
    if found.transformers4 is not None:
        found = find_pipeline(converted_pipeline(found.name, found.transformers4, {}), {})
        assert found is not None
    priors = [name for name in found.parts if name.startswith("prior_")]
    if part == TOP_PRIOR and priors:
        part = priors[-1]
    if part not in found.parts:
        raise ValueError(f"{source} has no {part}; its parts are {listed(found.parts)}.")
    return found.name, part


def _without_part(source: PathLike) -> tuple[PathLike, str]:
    """Split `me/my-jukebox/prior_1` into the name of a pipeline and of its part; the latter is empty without one."""
    path = user_path(source)
    head, _, tail = str(path).rpartition("/")
    is_part = _PART.fullmatch(tail) and not path.exists() and (user_path(head).is_dir() or head.count("/") == 1)
    return (head, tail) if is_part else (source, "")
