"""The command that uploads models and runs to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console.lines import write_line
from ..console.quiet import hush_libraries
from .options import path_argument
from .terminal import command_errors, status

_TYPES = ("model", "dataset", "space")


def push_command(
    folder: Annotated[
        Path,
        path_argument(
            "FOLDER", help="A run, pipeline, model, adapter or tokenizer, or a training's output.", show_default=False
        ),
    ],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="Hub repository, created unless it exists.")],
    repo_type: Annotated[
        str | None, typer.Option("--type", help="For a run: dataset, the default, or space, a page that plays it.")
    ] = None,
    private: Annotated[bool | None, typer.Option("--private/--public", help="Of a new repository.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, created unless it exists; main by default.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request.")] = False,
    license: Annotated[str | None, typer.Option(help="Licence for the card, such as cc-by-4.0.")] = None,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
) -> None:
    """Upload a run or a model to the Hub, with a card that plays.

    After an interruption repeat the command: large files that have arrived are not sent again.
    """
    with command_errors():
        if repo_type not in (None, *_TYPES):
            raise ValueError(f"--type must be {', '.join(_TYPES[:2])} or {_TYPES[2]}, not {repo_type!r}.")
        with status(f"Uploading {folder} to {repository} ..."):
            from ..push import push_folder

            hush_libraries()
            address = push_folder(
                folder,
                repository,
                repo_type=repo_type,  # type: ignore[arg-type]  # checked above
                license=license,
                private=private,
                revision=revision,
                create_pr=create_pr,
                commit_message=message,
            )
        write_line(f"Uploaded to {address}")
