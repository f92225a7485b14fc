"""The commands that train: train vqvae, train prior, encode.

Their options are dataclasses, shared with `accelerate launch -m hf_jukebox.train_prior` and its like, so the words of
the command line are passed on unread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from .checks import PROGRAM

_UNREAD: dict[str, Any] = {
    "add_help_option": False,
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
    "options_metavar": "[OPTIONS]",
}

train_app = typer.Typer(help="Train a VQ-VAE or a prior, or fine-tune one.", no_args_is_help=True)


def add_training_commands(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(train_app, name="train")
    passed_on: Callable[..., Any] = app.command(**_UNREAD)
    passed_on(encode)


@train_app.command("vqvae", **_UNREAD)
def train_vqvae(context: typer.Context) -> None:
    """Train a VQ-VAE on recordings; --help lists the options."""
    from ..train_vqvae import main

    main(context.args, f"{PROGRAM} train vqvae")


@train_app.command("prior", **_UNREAD)
def train_prior(context: typer.Context) -> None:
    """Train or fine-tune a prior on recordings or codes; --help lists the options."""
    from ..train_prior import main

    main(context.args, f"{PROGRAM} train prior")


def encode(context: typer.Context) -> None:
    """Encode recordings once, so that priors train without the VQ-VAE; --help lists the options."""
    from ..encode import main

    main(context.args, f"{PROGRAM} encode")
