"""Conversion of models in the layout of transformers 4, with one configuration and one set of weights for all."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from ..files.text import read_json_object
from ..hierarchy import Hierarchy
from ..loading.weight_files import shard_paths
from .cards import converted_card
from .model_folder import Mismatch, ModelFolder
from .model_sources import from_hub, public_name
from .openai_files import read_torch_file, tensors_of
from .pipeline_folder import PathLike, check_one_per_level, new_folder, write_pipeline
from .settings import check_ids, errors_in_settings
from .transformers4_settings import prior_config, prior_settings, vqvae_config

_V2_SUFFIX = ".v2"  # marks names of the v2 vocabulary in their tables


def convert_transformers(source: PathLike, output: PathLike) -> None:
    """Convert a model of transformers 4 to a pipeline folder, one file of weights at a time.

    Args:
        source: Folder or Hub repository with config.json and pytorch_model.bin or model.safetensors, or their
            shards; artists.json and genres.json give the names.
        output: Folder to write; it must not exist, or be empty.

    Raises:
        OSError: a file cannot be read, or the folder cannot be written.
        ValueError: the weights are damaged, or do not fit the configuration.
    """
    with new_folder(output) as folder:
        local = _local_folder(source)
        settings = read_json_object(local / "config.json")
        with errors_in_settings(local / "config.json"):
            vqvae = vqvae_config(settings)
            priors = prior_settings(settings)
            check_one_per_level(vqvae, len(priors))
            configs = [prior_config(prior, level, vqvae) for level, prior in enumerate(priors)]
        _add_tables(local, configs)
        _convert_weights(_weight_files(local), folder, vqvae, configs)
        write_pipeline(folder, Hierarchy.of(vqvae, configs), converted_card([public_name(source)]))


def _convert_weights(
    files: Sequence[Path], folder: Path, vqvae: JukeboxVQVAEConfig, priors: Sequence[JukeboxPriorConfig]
) -> None:
    models = [ModelFolder(folder / "vqvae", vqvae, "transformers", "vqvae.")]
    for number, prior in enumerate(reversed(priors)):  # theirs start with the top
        models.append(ModelFolder(folder / f"prior_{prior.level}", prior, "transformers", f"priors.{number}."))
    unexpected: list[str] = []
    for path in files:
        tensors = _read_tensors(path)
        for model in models:
            model.take(tensors)
        unexpected += tensors
    for model in models:
        model.finish()
    Mismatch(
        missing=[name for model in models for name in model.mismatch.missing],
        unexpected=unexpected,
        wrong=[name for model in models for name in model.mismatch.wrong],
    ).check(files[0] if len(files) == 1 else files[0].parent)


def _local_folder(source: PathLike) -> Path:
    """Return the folder itself, or a local copy of the needed files of a repository."""
    if Path(source).is_dir():
        return Path(source)
    folder = from_hub(source, ["*.json", "model*.safetensors"])
    return folder if any(folder.glob("*.safetensors")) else from_hub(source, ["*.json", "pytorch_model*.bin"])


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


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix != ".safetensors":
        return tensors_of(read_torch_file(path), path)
    try:
        return load_file(path, backend="pread")  # mapped memory could not be freed tensor by tensor
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or cut short ({error}); download it again.") from error


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
            stacklevel=3,
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
