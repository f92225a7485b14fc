"""Comment fields of an audio file: that a machine made it, and how."""

from __future__ import annotations

import json

from ..audio.mark import MARK, marked
from .command_lines import run_commands
from .contents import RunReader
from .model_source import model_name

_MOST_BYTES = 24_000  # of the comment: an Opus file holds about 30 kB


def comment_fields(run: RunReader, song: int, level: int, *, is_whole: bool = True) -> dict[str, str]:
    """Return the comment fields of a song at a level.

    Args:
        is_whole: Add the model, the seed, the labels and the command; otherwise there is only the mark.
    """
    return marked() | _whole_fields(run, song, level) if is_whole else marked()


def _whole_fields(run: RunReader, song: int, level: int) -> dict[str, str]:
    labels, model = run.request.songs[song], run.step.model
    content = {
        "made_by": MARK,
        "model": model_name(model.source),
        "fingerprints": model.parts,
        "dtype": model.dtype.removeprefix("torch."),
        "seed": run.request.seed,
        "random_numbers": labels.key,
        "song": song,
        "level": level,
        "artist_label": labels.artist,
        "genre_label": labels.genre,
        "prompt": labels.prompt,
        "commands": run_commands(run),
        "lyrics": labels.lyrics,
    }
    text = json.dumps(content, ensure_ascii=False)
    for long in ("lyrics", "commands", "prompt"):
        if len(text.encode("utf-8", "replace")) <= _MOST_BYTES:
            break
        content[long] = "left out, since it is too long"
        text = json.dumps(content, ensure_ascii=False)
    part = run.song_folder(song)
    title = run.folder.resolve().name if part is None else part.title or part.name
    fields = {"title": title, "comment": text, "genre": labels.genre or ""}
    return {name: text.encode("utf-8", "replace").decode("utf-8") for name, text in fields.items() if text}
