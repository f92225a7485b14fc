"""Conversion of models in the layout of transformers 4, with one configuration and one set of weights for all."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from ..files.text import read_json_object
from ..hierarchy import Hierarchy
from ..loading.weight_files import shard_paths
from .cards import converted_card
from .model_folder import ModelFolder, check_tensors
from .model_sources import from_hub, public_name
from .pipeline_folder import PathLike, check_one_per_level, new_pipeline_folder, stored_fingerprint, write_pipeline
from .settings import check_ids, errors_in_settings
from .tensor_files import TensorFile
from .transformers4_settings import prior_config, prior_settings, vqvae_config

logger = logging.getLogger(__name__)

_V2_SUFFIX = ".v2"  # marks names of the v2 vocabulary in their tables


def convert_transformers(source: PathLike, output: PathLike, *, revision: str | None = None) -> None:
    """Convert a model of transformers 4 to a pipeline folder, one model and one file of weights at a time.

    Args:
        source: Folder or Hub repository with config.json and pytorch_model.bin or model.safetensors, or their
            shards; artists.json and genres.json give the names.
        output: Folder to write; it must not exist, or be empty.
        revision: Branch, tag or commit of a repository.

    Raises:
        OSError: a file cannot be read, or the folder cannot be written.
        ValueError: the weights are damaged, or do not fit the configuration.
    """
    with new_pipeline_folder(output) as folder:
        convert_models(download_transformers(source, {"revision": revision}), folder, public_name(source))


def download_transformers(source: PathLike, options: Mapping[str, Any]) -> Path:
    """Return the folder itself, or a local copy of the needed files of a repository.

    Args:
        options: Arguments of `snapshot_download`, such as `revision`.

    Raises:
        OSError: there is no such repository, or it cannot be reached.
    """
    if Path(source).is_dir():
        return Path(source)
    folder = from_hub(source, ["*.json", "model*.safetensors"], options)
    return folder if any(folder.glob("*.safetensors")) else from_hub(source, ["*.json", "pytorch_model*.bin"], options)


def read_configs(local: Path) -> tuple[JukeboxVQVAEConfig, list[JukeboxPriorConfig]]:
    """Read the configurations of the models in a folder, those of the priors finest level first.

    Raises:
        OSError: there is no config.json.
        ValueError: it does not describe models that can be converted.
    """
    settings = read_json_object(local / "config.json")
    with errors_in_settings(local / "config.json"):
        vqvae = vqvae_config(settings)
        priors = prior_settings(settings)
        check_one_per_level(vqvae, len(priors))
        return vqvae, [prior_config(prior, level, vqvae) for level, prior in enumerate(priors)]


def convert_models(local: Path, folder: Path, name: str) -> None:
    """Convert the models in a local folder, one after the other; those that `folder` has already are kept.

    At most one model's tensors of one file are in memory.

    Args:
        local: Folder of the checkpoint.
        folder: Folder of the pipeline, created if it does not exist.
        name: Name of the checkpoint for the model card.

    Raises:
        OSError, ValueError: see `convert_transformers`.
    """
    vqvae, configs = read_configs(local)
    _add_tables(local, configs)
    models = [ModelFolder(folder / "vqvae", vqvae, "transformers", "vqvae.")]
    for number, config in enumerate(reversed(configs)):  # theirs start with the top
        models.append(ModelFolder(folder / f"prior_{config.level}", config, "transformers", f"priors.{number}."))
    paths = _weight_files(local)
    files, source = [TensorFile(path) for path in paths], paths[0] if len(paths) == 1 else local
    check_tensors(models, {name: shape for file in files for name, shape in file.shapes.items()}, source)
    folder.mkdir(exist_ok=True)
    for number, model in enumerate(models, 1):
        if not model.folder.is_dir():
            if isinstance(model.config, JukeboxPriorConfig):
                model.config.vqvae_fingerprint = stored_fingerprint(folder / "vqvae")
            for file in files:
                model.take(file.read(file.shapes.keys() & model.shapes.keys()))
            model.finish(source)
        logger.info("Converted %s of %s (%d of %d).", model.folder.name, name, number, len(models))
    write_pipeline(folder, Hierarchy.of(vqvae, configs), converted_card([name]))


def _weight_files(folder: Path) -> list[Path]:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            files = shard_paths(index)
            missing = [path.name for path in files if not path.is_file()]
            if missing:
                raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}, which {index.name} lists.")
            return files
    raise FileNotFoundError(f"{folder} holds neither model.safetensors nor pytorch_model.bin, nor an index of shards.")


def _add_tables(folder: Path, priors: Sequence[JukeboxPriorConfig]) -> None:
    """Add the names, which transformers 4 keeps in one table for all levels."""
    labelled = [prior for prior in priors if prior.has_labels]
    if not labelled:
        return
    paths = [folder / "artists.json", folder / "genres.json"]
    tables = [read_json_object(path) for path in paths if path.is_file()]
    if len(tables) < len(paths):
        warnings.warn(
            f"{folder} has no artists.json and genres.json: the converted model has no artist and genre names.",
            UserWarning,
            stacklevel=4,
        )
        tables = [{}, {}]
    for prior in labelled:
        prior.artists = _names_of(tables[0], paths[0], prior.label_rules, prior.num_artists)
        prior.genres = _names_of(tables[1], paths[1], prior.label_rules, prior.num_genres)


def _names_of(table: dict[str, Any], path: Path, rules: str, rows: int) -> dict[str, int]:
    if not all(isinstance(index, int) for index in table.values()):
        raise ValueError(f"{path} should hold the id of each name, a whole number.")
    names = {
        name.removesuffix(_V2_SUFFIX): index
        for name, index in table.items()
        if name.endswith(_V2_SUFFIX) == (rules == "v2")
    }
    check_ids(names, path, rows)
    return names
