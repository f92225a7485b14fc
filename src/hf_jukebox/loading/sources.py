"""Checks on the source of a model, before any weights are downloaded or read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..files.text import first_line, listed, read_json_object, user_path

PathLike = str | os.PathLike[str]

_PIPELINE = "JukeboxPipeline"
TRANSFORMERS_4 = "jukebox"  # model_type of that layout
_CLASSES = {"jukebox_prior": "JukeboxPrior", "jukebox_vqvae": "JukeboxVQVAE"}  # by model_type
_HUB_OPTIONS = ("revision", "cache_dir", "token", "local_files_only", "force_download")
_TOKENIZER_TABLE = "artists.json"
_CHECKPOINTS = (".tar", ".pth", ".pt", ".ckpt", ".bin")
_CONVERT_OPENAI = "hf-jukebox convert openai --vqvae FILE --prior FILE --output DIR"


@dataclass(frozen=True)
class PipelineSource:
    """Place of a pipeline that can be loaded.

    Attributes:
        name: Folder, with a leading `~` expanded, or name of a repository.
        parts: Names of the parts, such as `prior_0`, in order.
        transformers4: Folder of the config.json, if the models are in the layout of transformers 4 and have to be
            converted: the folder itself, or that of a commit in the cache of the Hub.
        class_name: Class that the index names.
    """

    name: str
    parts: tuple[str, ...] = ()
    transformers4: Path | None = None
    class_name: Any = _PIPELINE


def find_pipeline(source: PathLike, options: Mapping[str, Any]) -> PipelineSource | None:
    """Return the place of a pipeline; None for a folder or Hub repository without one.

    Args:
        source: A folder, or the name of a repository.
        options: Arguments of `from_pretrained`; see `check_pipeline_source`.

    Raises:
        OSError: there is no such folder or repository.
    """
    return _find_pipeline(_Source.resolve(source, options))


def _find_pipeline(location: _Source) -> PipelineSource | None:
    index = location.read("model_index.json")
    if index is not None:
        return PipelineSource(location.name, _parts(index), class_name=index.get("_class_name", _PIPELINE))
    if (location.read("config.json") or {}).get("model_type") == TRANSFORMERS_4:
        return PipelineSource(location.name, transformers4=location.path("config.json").parent)
    return None


def check_pipeline_source(source: PathLike, options: Mapping[str, Any]) -> PipelineSource:
    """Refuse a folder or Hub repository without a pipeline, before weights are downloaded or read.

    Args:
        source: A folder, or the name of a repository.
        options: Arguments of `from_pretrained`, such as `revision`, `cache_dir`, `token` and `local_files_only`.

    Raises:
        OSError: there is no pipeline there; the message says what was found, and what to do.
    """
    location = _Source.resolve(source, options)
    found = _find_pipeline(location)
    if found is None:
        model_type = (location.read("config.json") or {}).get("model_type")
        location.refuse_other_layouts(model_type)
        if isinstance(model_type, str) and model_type in _CLASSES:
            raise OSError(
                f"{source} holds a single part; load it with {_CLASSES[model_type]}.from_pretrained, or put a VQ-VAE "
                "and priors together with: hf-jukebox assemble --vqvae VQVAE --prior PRIOR --output DIR"
            )
        raise OSError(f"{source} holds no model_index.json; give the folder or repository that save_pretrained wrote.")
    if found.class_name != _PIPELINE:
        raise OSError(f"{source} holds a {found.class_name}; give the folder or repository of a {_PIPELINE}.")
    if location.folder is not None and found.transformers4 is None:
        _check_parts(location.folder, found.parts, options)
    return found


def check_parts(folder: Path, options: Mapping[str, Any]) -> None:
    """Refuse a pipeline's folder that lacks the subfolder of a part, unless `options` replaces that part.

    Raises:
        OSError: parts are missing; the message names them.
    """
    _check_parts(folder, _parts(_Source.resolve(folder, {}).read("model_index.json") or {}), options)


def _check_parts(folder: Path, parts: Sequence[str], options: Mapping[str, Any]) -> None:
    missing = [name for name in parts if name not in options and not (folder / name).is_dir()]
    if missing:
        raise OSError(f"{folder} is incomplete: {listed(missing)} missing; copy or download it again.")


def _parts(index: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(name for name, value in index.items() if isinstance(value, list) and value[:1] != [None]))


def check_model_source(source: PathLike, model_type: str, options: Mapping[str, Any]) -> str:
    """Refuse a folder or Hub repository without a model of this type; return it with a leading `~` expanded.

    Args:
        source: A folder, or the name of a repository.
        model_type: `"jukebox_prior"` or `"jukebox_vqvae"`.
        options: Arguments of `from_pretrained`, including `subfolder`; see `check_pipeline_source`.

    Raises:
        OSError: there is no such model there; the message says what was found, and what to do.
    """
    location = _Source.resolve(source, options)
    if options.get("config") is not None or options.get("state_dict") is not None:
        return location.name
    subfolder = options.get("subfolder") or ""
    config = location.read("config.json", subfolder)
    if config is not None:
        found = config.get("model_type")
        found = found if found is None else str(found)[:80]  # it may be anything
        location.refuse_other_layouts(found)
        if found in _CLASSES and found != model_type:
            raise OSError(f"{source} holds a {_CLASSES[found]}, not a {_CLASSES[model_type]}; load it with that class.")
        if found is not None and found != model_type:
            raise OSError(f"{source} holds a model of type {found!r}; give the source of a {_CLASSES[model_type]}.")
    elif location.read("adapter_config.json", subfolder) is None:
        location.refuse_other_layouts(None)
        if not subfolder and location.read("model_index.json") is not None:
            part = "vqvae" if model_type == "jukebox_vqvae" else "prior_2"
            raise OSError(f"{source} holds a whole pipeline; name the part to load, such as subfolder={part!r}.")
        where = f"The subfolder {subfolder} of {source}" if subfolder else source
        raise OSError(f"{where} holds no config.json; give the folder or repository that save_pretrained wrote.")
    return location.name


def check_tokenizer_source(source: PathLike, options: Mapping[str, Any]) -> str:
    """Refuse a folder or Hub repository without a tokenizer; return it with a leading `~` expanded.

    Args:
        source: A folder, or the name of a repository.
        options: Arguments of `from_pretrained`, including `subfolder`; see `check_pipeline_source`.

    Raises:
        OSError: there is no such folder or repository, or it holds something else; the message says what to do.
    """
    location = _Source.resolve(source, options)
    subfolder = options.get("subfolder") or ""
    if not location.has(_TOKENIZER_TABLE, subfolder):
        location.refuse_other_layouts(None)
        if not subfolder and location.read("model_index.json") is not None:
            raise OSError(f"{source} holds a whole pipeline; name the part to load, such as subfolder='tokenizer'.")
        if location.folder is None:
            raise OSError(f"{source} holds no {_TOKENIZER_TABLE}; give the folder or repository of a tokenizer.")
    return location.name


def is_transformers4(folder: Path) -> bool:
    """Return whether a folder holds models in the layout of transformers 4, by its config.json."""
    path = folder / "config.json"
    try:
        return os.path.isfile(path) and read_json_object(path).get("model_type") == TRANSFORMERS_4
    except (OSError, ValueError):
        return False


class _Source:
    """A folder or a Hub repository.

    Args:
        name: Path or name, as `from_pretrained` accepts it.
        folder: The folder, or None for a repository.
        options: Options for downloads.
    """

    def __init__(self, name: str, folder: Path | None, options: Mapping[str, Any]) -> None:
        self.name = name
        self.folder = folder
        self.options = {option: options[option] for option in _HUB_OPTIONS if options.get(option) is not None}
        self._unreachable: Exception | None = None

    @classmethod
    def resolve(cls, source: PathLike, options: Mapping[str, Any]) -> _Source:
        """Decide whether `source` is a folder or a repository.

        Raises:
            OSError: it is a file, or a path that does not exist.
        """
        path = user_path(source)
        if path.is_dir():
            return cls(str(path), path, options)
        if path.is_file():
            if path.suffix.lower() in _CHECKPOINTS:
                raise OSError(f"{source} is a checkpoint file; convert it once with: {_CONVERT_OPENAI}")
            raise OSError(f"{source} is a file; give the folder that save_pretrained wrote.")
        if not isinstance(source, str) or path.is_absolute() or re.match(r"[.~]|.*[\\]|.*/.*/", source):
            raise OSError(f"There is no folder {source}; check its name.")
        return cls(source, None, options)

    def read(self, name: str, subfolder: str = "") -> dict[str, Any] | None:
        """Read a JSON object; return None if there is no such file.

        Raises:
            OSError: there is no such repository or revision, or the file is damaged.
        """
        path = self._path(name, subfolder)
        if path is None or not path.is_file():
            return None
        try:
            return read_json_object(path)
        except ValueError as error:
            raise OSError(f"{str(error).rstrip('.')}; copy or download it again.") from error

    def has(self, name: str, subfolder: str = "") -> bool:
        """Return whether there is a file of this name."""
        path = self._path(name, subfolder)
        return path is not None and path.is_file()

    def refuse_other_layouts(self, model_type: Any) -> None:
        """Refuse models that have to be converted, and repositories that cannot be read.

        Raises:
            OSError: the model is in the layout of transformers 4 or of the original code, or the Hub cannot be reached.
        """
        if model_type == TRANSFORMERS_4:
            raise OSError(
                f"{self.name} is in the layout of transformers 4; load it with JukeboxPipeline.from_pretrained, or "
                f"convert it once with: hf-jukebox convert transformers {self.name} --output DIR"
            )
        if model_type is None and any(name.endswith(".pth.tar") for name in self._file_names()):
            download = "" if self.folder is not None else f"download them with: hf download {self.name}, and "
            raise OSError(
                f"{self.name} holds checkpoints in the original layout; {download}convert them: {_CONVERT_OPENAI}"
            )
        if model_type is None and self._unreachable is not None:
            raise OSError(
                f"{self.name} is neither a folder nor in the cache, and the Hub cannot be reached; check the name "
                "and the network, HF_HUB_OFFLINE and local_files_only."
            ) from self._unreachable

    def path(self, name: str, subfolder: str = "") -> Path:
        """Return the local path of a file that `read` has found."""
        found = self._path(name, subfolder)
        assert found is not None
        return found

    def _file_names(self) -> list[str]:
        """Return the names of the files at the top; none of a repository that cannot be listed."""
        if self.folder is not None:
            return [path.name for path in self.folder.iterdir()]
        if self._unreachable is not None or self.options.get("local_files_only"):
            return []
        options = {name: self.options[name] for name in ("revision",) if name in self.options}
        try:
            return HfApi(token=self.options.get("token")).list_repo_files(self.name, **options)
        except (OSError, ValueError):  # the files that are missing are named in the error anyway
            return []

    def _path(self, name: str, subfolder: str) -> Path | None:
        if self.folder is not None:
            return self.folder / subfolder / name
        options = self.options
        if self._unreachable is not None:  # each attempt at a Hub that does not answer takes half a minute
            options = options | {"local_files_only": True}
        try:
            return Path(hf_hub_download(self.name, name, subfolder=subfolder or None, **options))
        except GatedRepoError as error:
            raise OSError(f"{self.name} is a gated repository; request access on its page on the Hub.") from error
        except RepositoryNotFoundError as error:
            raise OSError(
                f"There is neither a folder nor a Hub repository {self.name}, or it is private; check the name, or log "
                "in with: hf auth login"
            ) from error
        except RevisionNotFoundError as error:
            revision = self.options.get("revision")
            raise OSError(
                f"{self.name} has no revision {revision!r}; give one of its branches, tags or commits."
            ) from error
        except LocalEntryNotFoundError as error:
            self._unreachable = error
            return None
        except EntryNotFoundError:
            return None
        except HFValidationError as error:
            raise OSError(f"{self.name} is neither a folder nor the name of a Hub repository.") from error
        except OSError as error:
            raise OSError(f"{self.name} cannot be read from the Hub ({first_line(error)}).") from error
