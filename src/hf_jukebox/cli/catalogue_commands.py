"""The commands on catalogues of codes: build, hash, check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..console.lines import write_line
from ..console.quiet import hush_libraries
from ..console.signals import work_to_keep
from .checks import check_catalogue, check_codes, check_files, check_model_options, find_given_device
from .models import load_pipeline
from .options import ModelOptions, path_argument, path_option, with_options
from .terminal import command, command_errors, error_console, status
from .values import read_levels

CatalogueFolder = Annotated[Path, path_argument("CATALOGUE", help="Folder of a catalogue.", show_default=False)]
NewFolder = Annotated[Path, path_option("--output", "-o", help="New folder for the result.", show_default=False)]


def build(
    codes: Annotated[
        list[Path],
        path_argument("CODES...", help="Folders of codes, written by hf-jukebox encode.", show_default=False),
    ],
    output: NewFolder,
    levels: Annotated[
        str | None, typer.Option(help="Levels to hold, with commas; by default the top level, such as 2.")
    ] = None,
) -> None:
    """Build a catalogue of codes, to check pieces against or to avoid while sampling."""
    with command_errors():
        wanted = read_levels(levels)
        check_codes(codes)
        _check_new(output)
        with status(f"Building {output} ..."), work_to_keep():
            hush_libraries()
            from ..study.catalogues import build_catalogue

            catalogue = build_catalogue(codes, output, wanted)
        seconds = sum(song.top_codes for song in catalogue.songs) * catalogue.format.seconds(-1, 1)
        write_line(
            f"Wrote {output}: {len(catalogue.songs)} songs, {seconds / 3600:.2f} hours, level"
            f"{'s' if len(catalogue.levels) > 1 else ''} {', '.join(map(str, catalogue.levels))}. Avoid it with: "
            f"{command('sample', '--avoid', output)}"
        )


def hash_(
    catalogue: CatalogueFolder,
    output: NewFolder,
    longest_in_s: Annotated[
        float, typer.Option("--longest-in-s", help="Seconds that agreements can be limited to, at least.")
    ] = 2.0,
) -> None:
    """Write a catalogue that can be shared without its songs: salted hashes of their stretches."""
    with command_errors():
        check_catalogue(catalogue, longest_in_s)
        _check_new(output)
        with status(f"Hashing {catalogue} ..."), work_to_keep():
            from ..study.catalogues import hash_catalogue

            hash_catalogue(catalogue, output, longest_in_s)
        write_line(f"Wrote {output}: hashes of codes, without songs.")


@with_options
def check(
    pieces: Annotated[
        list[Path], path_argument("PIECES...", help="Folders of runs, and recordings.", show_default=False)
    ],
    catalogue: Annotated[Path, path_option(help="Folder of a catalogue.", show_default=False)],
    held_out: Annotated[
        Path | None,
        path_option(help="Codes of songs that are not in the catalogue, to compare with; else its own songs."),
    ] = None,
    excerpts: Annotated[int, typer.Option(help="Excerpts of these songs to compare with.")] = 100,
    output: Annotated[
        Path | None, path_option("--output", "-o", help="Folder for copies.json and a page with the audio.")
    ] = None,
    *,
    model: ModelOptions,
) -> None:
    """Find the longest stretches of pieces that agree with a catalogue, beside what songs that are no copies have."""
    with command_errors():
        if excerpts < 1:
            raise ValueError(f"--excerpts must be at least 1, not {excerpts}.")
        check_files(pieces)
        check_catalogue(catalogue)
        check_codes([] if held_out is None else [held_out])
        check_model_options(model)
        report = _check(pieces, catalogue, held_out, excerpts, output, model)
        write_line(json.dumps(report))


def _check(
    pieces: list[Path], folder: Path, held_out: Path | None, excerpts: int, output: Path | None, model: ModelOptions
) -> dict[str, object]:
    from ..catalogue.folder import open_songs
    from ..hierarchy import encoder_fingerprint

    catalogue = open_songs(folder)
    vqvae = load_pipeline(model.on_device(find_given_device(model.device) or "cpu")).vqvae
    catalogue.check_fingerprint(encoder_fingerprint(vqvae))
    from rich.progress import Progress

    from ..files.atomic import replacing
    from ..study.copies import check_pieces, read_pieces
    from ..study.copies_page import write_copies_page
    from ..training.data.code_cache import CodeCache

    level = catalogue.levels[-1]
    names, codes = read_pieces(pieces, vqvae, level)
    others = None if held_out is None else CodeCache(held_out)
    console = error_console()
    with Progress(console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task("Comparing with other songs", total=excerpts)
        report = check_pieces(catalogue, level, names, codes, others, excerpts, on_excerpt=lambda: bars.advance(task))
    result = report.as_dict()
    if output is not None:
        write_copies_page(output, report, codes, vqvae)
        with replacing(output / "copies.json") as unfinished:
            unfinished.write_text(json.dumps(result, indent=2) + "\n", encoding="ascii")
    return result


def _check_new(folder: Path) -> None:
    if folder.exists():
        raise FileExistsError(f"{folder} exists already; give --output a new folder.")
