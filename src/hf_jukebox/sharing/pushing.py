"""`push_to_hub` of models, tokenizers and pipelines, with a card of ours in place of an empty template."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from .cards import Card
from .upload import upload_folder

_UPLOAD = ("private", "revision", "create_pr", "token", "commit_message")


class PushableMixin:
    """Uploading of something that `save_pretrained` writes."""

    save_pretrained: Callable[..., Any]

    def hub_card(self, repo_id: str) -> Card:
        """Return the card for a repository."""
        raise NotImplementedError

    def push_to_hub(self, repo_id: str, *, license: str | None = None, **options: Any) -> str:
        """Upload to the Hub, with a card whose code loads it, and return the address of the commit or pull request.

        A card in the repository that somebody has edited is kept, and its metadata completed. If an upload is
        interrupted, repeat it: large files that have arrived are not sent again.

        Args:
            repo_id: Repository, created unless it exists.
            license: Licence of the weights, such as `"cc-by-4.0"`; that in the config by default.
            options: `private`, `revision` (a branch, created unless it exists), `create_pr`, `token` and
                `commit_message`; all others are those of `save_pretrained`, such as `variant` and `max_shard_size`.

        Raises:
            OSError: the Hub rejects the upload or cannot be reached.
            ValueError: the model cannot be saved.
        """
        upload = {name: options.pop(name) for name in _UPLOAD if name in options}
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, **options)
            (Path(folder) / "README.md").unlink(missing_ok=True)  # a template
            return upload_folder(Path(folder), repo_id, lambda name: _licensed(self.hub_card(name), license), **upload)

    def push_saved(self, folder: Path, options: dict[str, Any]) -> None:
        """Upload what `save_pretrained(push_to_hub=True)` has written; `options` are its arguments for that."""
        upload = {name: options[name] for name in _UPLOAD if options.get(name) is not None}
        upload_folder(folder, options.get("repo_id") or folder.resolve().name, self.hub_card, **upload)


def take_push_options(options: dict[str, Any]) -> dict[str, Any] | None:
    """Remove the options of an upload from the arguments of `save_pretrained`; return None if there is none to be."""
    wanted = options.pop("push_to_hub", False)
    taken = {name: options.pop(name) for name in ("repo_id", *_UPLOAD) if name in options and wanted}
    return taken if wanted else None


def _licensed(card: Card, licence: str | None) -> Card:
    return card if licence is None or card.licence is not None else replace(card, licence=licence)
