"""The command that exports a run: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console.lines import write_line
from .checks import check_run, check_writable
from .options import RunFolder, path_option
from .terminal import command_errors


def export(
    run_dir: RunFolder,
    to: Annotated[
        str, typer.Option("--to", help="wav, flac, mp3, ogg, opus; reaper or dawproject for a session.")
    ] = "flac",
    output: Annotated[
        Path | None, path_option("--output", "-o", help="Folder of the files.", show_default="DIR/export")
    ] = None,
    level: Annotated[int | None, typer.Option(help="Level of the audio, the finest by default.")] = None,
    song: Annotated[list[int] | None, typer.Option(help="Song by its number, all by default; may be repeated.")] = None,
    loudness: Annotated[
        float | None, typer.Option(help="Integrated loudness of the files in LUFS, such as -14.")
    ] = None,
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", help="Leave out model, seed, labels, command and codes.")
    ] = False,
) -> None:
    """Write the songs of a run as audio files that say where they come from, or the run as a session for a DAW.

    Files in wav and flac also hold the codes, so that they can be continued: hf-jukebox continue FILE --seconds S
    """
    with command_errors():
        check_run(run_dir)
        check_writable(run_dir if output is None else output)
        from ..runs.export import check_export, export_run

        check_export(to, loudness)
        paths = export_run(run_dir, to, output, level=level, songs=song, loudness=loudness, metadata=not no_metadata)
        for path in paths:
            write_line(str(path))
