"""Conversion of checkpoints in the layout of OpenAI's code, one `.pth.tar` file per model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from ..hierarchy import Hierarchy
from ..labels.vocabulary import read_ids
from .cards import converted_card
from .model_folder import ModelFolder, check_tensors
from .openai_files import read_torch_file, tensors_of
from .openai_settings import SettingsSource
from .pipeline_folder import PathLike, check_one_per_level, new_pipeline_folder, stored_fingerprint, write_pipeline
from .settings import check_ids


def convert_openai(
    vqvae: PathLike,
    priors: Sequence[PathLike],
    output: PathLike,
    *,
    preset: str | None = None,
    hparams: PathLike | None = None,
    ids: PathLike | None = None,
) -> None:
    """Convert checkpoints of OpenAI's code to a pipeline folder, one at a time.

    By default a model's settings are those in its checkpoint.

    Args:
        vqvae: File of the VQ-VAE.
        priors: Files of the priors, one per level, finest level first.
        output: Folder to write; it must not exist, or be empty.
        preset: Name of a released model, `"1b_lyrics"`, `"5b"` or `"5b_lyrics"`, if the files are from one.
        hparams: JSON file with settings by the name of the checkpoint without its suffix (the VQ-VAE's may be
            under `"vqvae"`, the priors' inside `"priors"`), or with those of one model. Others use their own.
        ids: Folder of the artist and genre tables (v2_artist_ids.txt ...), needed if a prior has labels.

    Raises:
        OSError: a file cannot be read, or the folder cannot be written.
        ValueError: a file is not a checkpoint, its tensors do not fit its settings, or the parts do not fit together.
    """
    paths = [Path(vqvae), *map(Path, priors)]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {path}.")
    settings = SettingsSource(preset, hparams)
    with new_pipeline_folder(output) as folder:
        vqvae_config = convert_vqvae(paths[0], folder / "vqvae", settings)
        check_one_per_level(vqvae_config, len(priors))
        fingerprint = stored_fingerprint(folder / "vqvae")
        configs = [
            convert_prior(path, folder / f"prior_{level}", level, vqvae_config, settings, ids, fingerprint)
            for level, path in enumerate(paths[1:])
        ]
        write_pipeline(folder, Hierarchy.of(vqvae_config, configs), converted_card([path.name for path in paths]))


def convert_vqvae(path: Path, folder: Path, settings: SettingsSource) -> JukeboxVQVAEConfig:
    """Convert the checkpoint of a VQ-VAE to a model's folder, and return its configuration."""
    content = _read(path)
    config = settings.vqvae(path, content)
    _write(path, content, folder, config)
    return config


def convert_prior(
    path: Path,
    folder: Path,
    level: int,
    vqvae: JukeboxVQVAEConfig,
    settings: SettingsSource,
    ids: PathLike | None = None,
    vqvae_fingerprint: str | None = None,
) -> JukeboxPriorConfig:
    """Convert the checkpoint of the prior of a level to a model's folder, and return its configuration.

    Args:
        ids: Folder of the artist and genre tables.
        vqvae_fingerprint: Fingerprint of the VQ-VAE, to store with the prior.
    """
    content = _read(path)
    config = settings.prior(path, content, level, vqvae)
    config.vqvae_fingerprint = vqvae_fingerprint
    if config.has_labels:
        if ids is None:
            raise ValueError(
                f"{path} has labels, so its tables of artists and genres are needed: give `ids`, the folder with "
                f"{config.label_rules}_artist_ids.txt and {config.label_rules}_genre_ids.txt."
            )
        config.artists = _table(Path(ids) / f"{config.label_rules}_artist_ids.txt", config.num_artists)
        config.genres = _table(Path(ids) / f"{config.label_rules}_genre_ids.txt", config.num_genres)
    _write(path, content, folder, config)
    return config


def _read(path: Path) -> dict[str, Any]:
    """Read a checkpoint without its training state."""
    content = read_torch_file(path)
    if not isinstance(content.get("model"), dict):
        raise ValueError(f"{path} is not a checkpoint of OpenAI's code: it holds no 'model'.")
    settings = content.get("hps")
    return {"model": tensors_of(content["model"], path), "hps": settings if isinstance(settings, dict) else None}


def _write(path: Path, content: dict[str, Any], folder: Path, config: JukeboxVQVAEConfig | JukeboxPriorConfig) -> None:
    model = ModelFolder(folder, config, "openai")
    tensors = content["model"]
    check_tensors([model], {name: tensor.shape for name, tensor in tensors.items()}, path)
    model.take(tensors)
    model.finish(path)


def _table(path: Path, rows: int) -> dict[str, int]:
    ids = read_ids(path)
    check_ids(ids, path, rows)
    return ids
