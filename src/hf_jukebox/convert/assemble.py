"""Assembly of separately trained models into a pipeline."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open

from ..configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from ..files.text import read_json_object
from ..hierarchy import Hierarchy, check_fingerprints
from .cards import assembled_card
from .model_sources import from_hub, public_name
from .parts import find_part
from .pipeline_folder import PathLike, check_one_per_level, new_pipeline_folder, stored_fingerprint, write_pipeline

# Files of a model; training leaves more in its folder.
_FILES = ("config.json", "model.safetensors", "model.safetensors.index.json", "model-*.safetensors")

Config = TypeVar("Config", JukeboxVQVAEConfig, JukeboxPriorConfig)


def assemble(vqvae: PathLike, priors: Sequence[PathLike], output: PathLike, *, allow_other_vqvae: bool = False) -> None:
    """Assemble a VQ-VAE and one prior per level into a pipeline folder, copying files without loading models.

    Args:
        vqvae: Folder or Hub repository written by `JukeboxVQVAE.save_pretrained`, or a pipeline, to use its VQ-VAE.
        priors: The same for the priors, finest level first; a pipeline provides its prior of that level. Parts can
            also be named, such as `me/my-jukebox/prior_1`.
        output: Folder to write; it must not exist, or be empty.
        allow_other_vqvae: Accept priors that were trained on the codes of another VQ-VAE.

    Raises:
        OSError: a part cannot be read, or the folder cannot be written.
        ValueError: a part is not the expected model, or the parts do not fit together.
    """
    names = ["vqvae", *(f"prior_{level}" for level in range(len(priors)))]
    with new_pipeline_folder(output) as folder:
        parts = [_part(source, name) for source, name in zip([vqvae, *priors], names, strict=True)]
        vqvae_config = _config(parts[0], JukeboxVQVAEConfig)
        check_one_per_level(vqvae_config, len(priors))
        configs = [_config(part, JukeboxPriorConfig) for part in parts[1:]]
        for level, (source, config) in enumerate(zip(priors, configs, strict=True)):
            _check_place(source, config, level)
        hierarchy = Hierarchy.of(vqvae_config, configs)
        fingerprint = stored_fingerprint(parts[0])
        if not allow_other_vqvae:
            check_fingerprints(configs, fingerprint, "pass `allow_other_vqvae=True`")
        for part, name in zip(parts, names, strict=True):
            _copy(part, folder / name)
        for config, name in zip(configs, names[1:], strict=True):
            if config.vqvae_fingerprint not in (None, fingerprint):
                config.vqvae_fingerprint = None
                config.save_pretrained(folder / name)
        write_pipeline(folder, hierarchy, assembled_card([public_name(source) for source in (vqvae, *priors)]))


def _part(source: PathLike, name: str) -> Path:
    """Return the folder of a model, given as such, as that of a pipeline, or as a Hub repository of either."""
    place, subfolder = find_part(source, name)
    if not Path(place).is_dir():
        place = str(from_hub(place, [f"{subfolder}/{file}" if subfolder else file for file in _FILES]))
    return Path(place, subfolder)


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
            with safe_open(path, framework="pt"):  # checks the header against the size
                pass
        except SafetensorError as error:
            raise OSError(f"{path} is damaged or cut short ({error}); copy or download it again.") from error
    folder.mkdir()
    for path in files:
        shutil.copyfile(path, folder / path.name)
