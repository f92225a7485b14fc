"""Reading metadata.csv and metadata.jsonl in the variants that spreadsheets and programs write."""

from __future__ import annotations

import csv
import difflib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from ...files.text import listed, read_text

logger = logging.getLogger(__name__)

FILE_NAME = "file_name"
COLUMNS = (FILE_NAME, "artist", "genre", "lyrics")
_SEPARATORS = (",", ";", "\t")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}

Row = dict[str, str]


def read_table(table: Path) -> list[Row]:
    """Read the songs of a table, with those columns of [`COLUMNS`] that it has; a missing cell is empty.

    Titles may be in any case, and blank rows are ignored. Rows without a file name are left out with a warning.

    Raises:
        OSError: the table cannot be read.
        ValueError: a line cannot be read, a column is missing, or there are no songs.
    """
    rows = list(_csv_rows(table) if table.suffix.lower() == ".csv" else _jsonl_rows(table))
    titles = list(dict.fromkeys(title for _, row in rows for title in row))
    if not rows and table.suffix.lower() == ".csv":
        titles = list(_csv_titles(table))
    _check_columns(table, titles)
    if not rows:
        raise ValueError(f"{table} lists no songs; write one per line below its titles.")
    songs = [(number, {name: row.get(name, "") for name in COLUMNS if name in titles}) for number, row in rows]
    nameless = [number for number, row in songs if not row[FILE_NAME].strip()]
    if nameless:
        lines = listed(map(str, nameless), 3)
        logger.warning("Skipping %d songs without a file_name in %s: line %s.", len(nameless), table.name, lines)
    return [row for _, row in songs if row[FILE_NAME].strip()]


def _check_columns(table: Path, titles: list[str]) -> None:
    """Refuse a table without file names, and warn of titles that look like misspelled columns."""
    absent = [name for name in COLUMNS if name not in titles]
    similar = {}
    for title in titles:
        if title not in COLUMNS and (close := difflib.get_close_matches(title, absent, n=1, cutoff=0.75)):
            similar[title] = close[0]
    if FILE_NAME not in titles:
        hint = next((f"; rename {title}" for title, name in similar.items() if name == FILE_NAME), "")
        found = ", ".join(sorted(title for title in titles if title)) or "none"
        raise ValueError(f"{table} needs a column file_name; its columns are: {found}{hint}.")
    for title, name in similar.items():
        logger.warning("%s: ignoring the column %s; if it is meant as %s, rename it.", table, title, name)


def _title(text: str) -> str:
    return re.sub(r"[\s-]+", "_", text.strip().lower())


def _csv_titles(table: Path) -> Iterator[str]:
    lines, separator, _ = _csv_lines(table)
    for title in next(csv.reader(lines, delimiter=separator, skipinitialspace=True), []):
        yield _title(title)


def _csv_lines(table: Path) -> tuple[list[str], str, int]:
    """Return the lines of a table from its titles on, the separator of its cells, and the number of lines before."""
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", read_text(table))
    skipped = 0
    separator = None
    if declared := re.fullmatch(r"\s*\"?sep=([,;\t|:])\"?\s*", lines[0], re.IGNORECASE):
        separator, skipped = declared[1], 1
    while skipped < len(lines) - 1 and not lines[skipped].strip():
        skipped += 1
    return lines[skipped:], separator or _separator(lines[skipped]), skipped


def _separator(titles: str) -> str:
    """Return the separator of titles: the one that makes one of them file_name, or else the most frequent."""

    def rank(separator: str) -> tuple[bool, int]:
        cells = [_title(cell.strip().strip('"')) for cell in titles.split(separator)]
        return FILE_NAME in cells, len(cells)

    return max(_SEPARATORS, key=rank)


def _csv_rows(table: Path) -> Iterator[tuple[int, Row]]:
    lines, separator, skipped = _csv_lines(table)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    titles: list[str] | None = None
    line = skipped + 1
    try:
        for cells in reader:
            if titles is None:
                titles = [_title(cell) for cell in cells]
                twice = [name for name in COLUMNS if titles.count(name) > 1]
                if twice:
                    raise ValueError(f"{table} has two columns {twice[0]}; keep one of them.")
            elif any(cell.strip() for cell in cells):
                if any(cell.strip() for cell in cells[len(titles) :]):
                    named = _NAMES.get(separator, repr(separator))
                    raise ValueError(f"{table}, line {line}: more cells than columns; quote cells with {named}.")
                yield line, dict(zip(titles, cells, strict=False))
            line = skipped + reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f'{table}, line {line} cannot be read ({error}); write a quote inside quotes twice, "", and not with '
            "a backslash."
        ) from error


def _jsonl_rows(table: Path) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(read_text(table).split("\n"), start=1):  # other line breaks may occur within JSON
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise ValueError(f'{table}, line {number}: expected a JSON object, such as {{"file_name": "a.wav"}}.')
        cells: Row = {}
        for title, value in row.items():
            name = _title(title)
            if name in COLUMNS and not isinstance(value, str | None):
                raise ValueError(f"{table}, line {number}: {name} must be text, not {value!r:.80}.")
            cells[name] = value if isinstance(value, str) else ""
        yield number, cells
