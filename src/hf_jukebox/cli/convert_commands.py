"""The commands that write a pipeline folder: convert openai, convert transformers, assemble."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from ..console.lines import write_line
from ..console.quiet import hush_libraries
from ..console.signals import work_to_keep
from ..files.text import user_path
from .checks import check_files
from .options import path_option
from .terminal import command, command_errors, status

# One word, or two around a slash, and perhaps a part.
_HUB_NAME = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95}(/(vqvae|prior_[0-2]))?)?", re.ASCII)

Output = Annotated[Path, path_option("--output", "-o", help="Folder for the result.", show_default=False)]


def convert_openai_command(
    vqvae: Annotated[Path, path_option(help="The VQ-VAE's .pth.tar file.", show_default=False)],
    prior: Annotated[list[Path], path_option(help="A prior's .pth.tar file; once per level, finest first.")],
    output: Output,
    preset: Annotated[str | None, typer.Option(help="1b_lyrics, 5b or 5b_lyrics, for files without settings.")] = None,
    hparams: Annotated[Path | None, path_option(help="JSON file with the settings.")] = None,
    ids: Annotated[Path | None, path_option(help="Folder of the artist and genre tables.")] = None,
) -> None:
    """Convert checkpoints in the original layout (the released weights are for non-commercial use)."""
    with command_errors():
        check_files([vqvae, *prior, *([hparams] if hparams is not None else [])])
        with status(f"Converting {len(prior) + 1} checkpoints ..."), work_to_keep():
            from ..convert import convert_openai

            hush_libraries()
            convert_openai(vqvae, prior, output, preset=preset, hparams=hparams, ids=ids)
        _print_usage(output)


def convert_transformers_command(
    source: Annotated[str, typer.Argument(help="Folder or Hub repository in the layout of transformers 4.")],
    output: Output,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the Hub repository.")] = None,
) -> None:
    """Convert a model in the layout of transformers 4 (the released weights are for non-commercial use)."""
    with command_errors():
        with status(f"Converting {source} ..."), work_to_keep():
            from ..convert import convert_transformers

            hush_libraries()
            convert_transformers(_local_path(source), output, revision=revision)
        _print_usage(output)


def assemble_command(
    vqvae: Annotated[str, typer.Option(help="The VQ-VAE: a folder or Hub repository.", show_default=False)],
    prior: Annotated[list[str], typer.Option(help="A prior's folder or repository; once per level, finest first.")],
    output: Output,
    allow_other_vqvae: Annotated[
        bool, typer.Option("--allow-other-vqvae", help="Accept priors that were trained with another VQ-VAE.")
    ] = False,
) -> None:
    """Assemble separately trained models into a pipeline of two or three levels."""
    with command_errors():
        with status(f"Assembling {output} ..."), work_to_keep():
            from ..convert import assemble

            hush_libraries()
            sources = [_local_path(source) for source in prior]
            assemble(_local_path(vqvae), sources, output, allow_other_vqvae=allow_other_vqvae)
        _print_usage(output)


def _print_usage(output: Path) -> None:
    write_line(f"Wrote {output}. Use it with: {command('sample', '--model', output)}")


def _local_path(source: str) -> str:
    """Expand a leading `~` in a folder's path; return the name of a Hub repository unchanged.

    Raises:
        FileNotFoundError: it is a path without a folder.
    """
    path = user_path(source)
    if path.exists():
        return str(path)
    if _HUB_NAME.fullmatch(source) is None:
        raise FileNotFoundError(f"There is no folder {source}; check its name.")
    return source
