"""The commands that make pipelines: convert openai, convert transformers, assemble."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console.lines import write_line
from ..console.quiet import hush_libraries
from ..console.signals import work_to_keep
from ..files.text import user_path
from .options import a_path
from .terminal import check_files, command, command_errors, is_path, status

Output = Annotated[Path, a_path("--output", "-o", help="Folder for the result.", show_default=False)]


def convert_openai_command(
    vqvae: Annotated[Path, a_path(help="The VQ-VAE's .pth.tar file.", show_default=False)],
    prior: Annotated[list[Path], a_path(help="A prior's .pth.tar file; once a level, finest first.")],
    output: Output,
    preset: Annotated[str | None, typer.Option(help="1b_lyrics, 5b or 5b_lyrics, for files without settings.")] = None,
    hparams: Annotated[Path | None, a_path(help="JSON file with the settings.")] = None,
    ids: Annotated[Path | None, a_path(help="Folder of the artist and genre tables.")] = None,
) -> None:
    """Checkpoints in the original layout (the released weights are for non-commercial use)."""
    with command_errors():
        check_files([vqvae, *prior, *([hparams] if hparams is not None else [])])
        with status(f"Converting {len(prior) + 1} checkpoints ..."), work_to_keep():
            from ..convert import convert_openai

            hush_libraries()
            convert_openai(vqvae, prior, output, preset=preset, hparams=hparams, ids=ids)
        _tell_model(output)


def convert_transformers_command(
    source: Annotated[str, typer.Argument(help="Folder or Hub repository in the layout of transformers 4.")],
    output: Output,
) -> None:
    """A model in the layout of transformers 4 (the released weights are for non-commercial use)."""
    with command_errors():
        with status(f"Converting {source} ..."), work_to_keep():
            from ..convert import convert_transformers

            hush_libraries()
            convert_transformers(_local(source), output)
        _tell_model(output)


def assemble_command(
    vqvae: Annotated[str, typer.Option(help="The VQ-VAE: a folder or Hub repository.", show_default=False)],
    prior: Annotated[list[str], typer.Option(help="A prior's folder or repository; once a level, finest first.")],
    output: Output,
) -> None:
    """Put parts of your own together to a pipeline of two or three levels."""
    with command_errors():
        with status(f"Assembling {output} ..."), work_to_keep():
            from ..convert import assemble

            hush_libraries()
            assemble(_local(vqvae), [_local(each) for each in prior], output)
        _tell_model(output)


def _tell_model(output: Path) -> None:
    write_line(f"Wrote {output}. Use it with: {command('sample', '--model', output)}")


def _local(source: str) -> str:
    """A part of a model, with a leading `~` expanded where it is a folder.

    Raises:
        FileNotFoundError: it is the path of a folder that is not there.
    """
    if is_path(source) and not user_path(source).exists():
        raise FileNotFoundError(f"There is no folder {source}; check its name.")
    return str(user_path(source)) if user_path(source).exists() else source
