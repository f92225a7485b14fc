"""Parts of one's own, put together to a pipeline."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open

from ..configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from ..files.text import read_json_object
from ..hierarchy import Hierarchy
from .cards import assembled_card
from .model_sources import from_hub, public_name
from .pipeline_folder import PathLike, check_one_a_level, new_folder, write_pipeline

# What a model needs; training leaves more in its folder.
_FILES = ("config.json", "model.safetensors", "model.safetensors.index.json", "model-*.safetensors")

Config = TypeVar("Config", JukeboxVQVAEConfig, JukeboxPriorConfig)


def assemble(vqvae: PathLike, priors: Sequence[PathLike], output: PathLike) -> None:
    """Put a VQ-VAE and one prior a level together to a pipeline folder. Files are copied, models are not loaded.

    Args:
        vqvae: A folder or Hub repository that `JukeboxVQVAE.save_pretrained` wrote, or a pipeline, whose VQ-VAE is
            taken.
        priors: The same for the priors, finest level first; of a pipeline, the prior of that level is taken.
        output: The folder to write; it must not exist, or be empty.

    Raises:
        OSError: a part cannot be read, or the folder cannot be written.
        ValueError: a part is something else, or the parts do not belong together.
    """
    names = ["vqvae", *(f"prior_{level}" for level in range(len(priors)))]
    with new_folder(output) as folder:
        parts = [_part(source, name) for source, name in zip([vqvae, *priors], names, strict=True)]
        vqvae_config = _config(parts[0], JukeboxVQVAEConfig)
        check_one_a_level(vqvae_config, len(priors))
        configs = [_config(part, JukeboxPriorConfig) for part in parts[1:]]
        for level, (source, config) in enumerate(zip(priors, configs, strict=True)):
            _check_place(source, config, level)
        hierarchy = Hierarchy.of(vqvae_config, configs)
        for part, name in zip(parts, names, strict=True):
            _copy(part, folder / name)
        write_pipeline(folder, hierarchy, assembled_card([public_name(source) for source in (vqvae, *priors)]))


def _part(source: PathLike, name: str) -> Path:
    """The folder of a model: given as such, as that of a pipeline, or as a Hub repository of either."""
    folder = Path(source)
    if not folder.is_dir():
        folder = from_hub(source, ["model_index.json", *_FILES, *(f"{name}/{file}" for file in _FILES)])
    return folder / name if (folder / "model_index.json").is_file() else folder


def _config(folder: Path, config_class: type[Config]) -> Config:
    path = folder / "config.json"
    settings = read_json_object(path)
    if settings.get("model_type") != config_class.model_type:
        raise ValueError(f"{path} describes a {settings.get('model_type')}, but a {config_class.model_type} is needed.")
    try:
        return config_class.from_dict(config_class._dict_from_json_file(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_place(source: PathLike, config: JukeboxPriorConfig, level: int) -> None:
    if config.level != level:
        raise ValueError(
            f"{source} is a prior of level {config.level}, but was given for level {level}; give the priors finest "
            "level first."
        )
    if config.has_labels and (config.artists is None or config.genres is None):
        raise ValueError(f"{source} has labels, but its config.json lacks the tables of artists and genres.")


def _copy(source: Path, folder: Path) -> None:
    files = sorted({path for pattern in _FILES for path in source.glob(pattern)})
    weights = [path for path in files if path.suffix == ".safetensors"]
    if not weights:
        raise FileNotFoundError(f"{source} holds no model.safetensors.")
    for path in weights:
        try:
            with safe_open(path, framework="pt"):  # reads the header, and compares it with the size
                pass
        except SafetensorError as error:
            raise OSError(f"{path} is damaged or cut short ({error}); copy or download it again.") from error
    folder.mkdir()
    for path in files:
        shutil.copyfile(path, folder / path.name)
