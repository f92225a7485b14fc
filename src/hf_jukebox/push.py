"""Upload of a folder that this library wrote: a pipeline, a model, an adapter, a tokenizer or a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from .files.text import read_json_object, read_text, user_path
from .loading.adapter_files import CONFIG_FILE, DETAILS_FILE
from .runs.names import REQUEST
from .runs.sharing import push_run
from .sharing.cards import CARD, Card
from .sharing.model_cards import Origin, adapter_card, model_card, pipeline_card, tokenizer_card
from .sharing.upload import RepoType, iter_files, upload_folder

_CONFIGS: dict[str, Any] = {"jukebox_vqvae": JukeboxVQVAEConfig, "jukebox_prior": JukeboxPriorConfig}
_OF_TRAINING = (
    "checkpoint-",
    "samples/",
    "jukebox/",
    "metrics.jsonl",
)  # a training folder also holds the finished model


def push_folder(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    repo_type: RepoType | None = None,
    license: str | None = None,
    **options: Any,
) -> str:
    """Upload a pipeline, model, adapter, tokenizer or run from its folder, and return the address of the commit.

    A card in the repository that somebody has edited, or one in the folder, is kept, and its metadata completed. If an
    upload is interrupted, repeat it: large files that have arrived are not sent again. Only safetensors, JSON, text,
    audio and pictures are uploaded.

    Args:
        folder: Folder that this library wrote.
        repo_id: Repository, created unless it exists.
        repo_type: `"dataset"` (the default) or `"space"` for a run; everything else is a model.
        license: Licence, such as `"cc-by-4.0"`; for weights that of their config by default.
        options: `private`, `revision`, `create_pr`, `token`, `commit_message`; see [`~sharing.upload.upload_folder`].

    Raises:
        OSError, ValueError: the folder holds nothing of the kind, or the Hub rejects the upload.
    """
    folder = user_path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}; check its name.")
    if (folder / REQUEST).is_file():
        if repo_type == "model":
            raise ValueError(f"{folder} holds a run; push it as a dataset or a space.")
        return push_run(folder, repo_id, repo_type=repo_type or "dataset", license=license, **options)
    if repo_type not in (None, "model"):
        raise ValueError(f"{folder} holds no run; only runs are pushed as a {repo_type}.")
    _card_of(folder, repo_id, license)  # before anything is created
    card = read_text(folder / CARD) if (folder / CARD).is_file() else ""
    files = {  # of a training, the audio that its card plays
        name: path for name, path in iter_files(folder) if not name.startswith(_OF_TRAINING) or quote(name) in card
    }
    if not any(name.endswith((".safetensors", ".json")) for name in files):
        raise FileNotFoundError(f"{folder} holds no safetensors files; save the model with save_pretrained.")
    return upload_folder(folder, repo_id, lambda name: _card_of(folder, name, license), files=files, **options)


def _card_of(folder: Path, repo_id: str, licence: str | None) -> Card:
    """Return the card of what a folder holds.

    Raises:
        OSError: it is nothing of this library.
    """
    if (folder / "model_index.json").is_file():
        priors = [folder / f"prior_{level}" for level in range(3)]
        configs = [_config(prior) if prior.is_dir() else None for prior in priors]
        return pipeline_card(repo_id, _config(folder / "vqvae"), configs, origin=Origin(), licence=licence)
    if (folder / "config.json").is_file():
        return model_card(repo_id, _config(folder), licence=licence)
    if (folder / CONFIG_FILE).is_file():
        details = read_json_object(folder / DETAILS_FILE) if (folder / DETAILS_FILE).is_file() else {}
        return adapter_card(repo_id, read_json_object(folder / CONFIG_FILE), details, licence)
    if (folder / "tokenizer_config.json").is_file():
        return tokenizer_card(repo_id)
    raise FileNotFoundError(
        f"{folder} holds no pipeline, model, adapter, tokenizer or run; give a folder that this library wrote."
    )


def _config(folder: Path) -> Any:
    path = folder / "config.json"
    config_class = _CONFIGS.get(str(read_json_object(path).get("model_type")))
    if config_class is None:
        raise OSError(f"{path} is not that of a model of this library; convert it first with: hf-jukebox convert")
    return config_class.from_dict(config_class._dict_from_json_file(path))
