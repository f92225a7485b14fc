"""Uploaded song files: whether the server can open one as the piece that it came from, and if not, why."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..audio.mark import has_mark
from ..runs.model_source import model_name
from ..runs.record import ModelRecord
from ..runs.song_files import NoCodesError, SongFile, read_song

_AS_PROMPT = "its sound is used as a prompt."


class SongUpload(NamedTuple):
    """Labels and codes that an upload holds besides its sound.

    Args:
        song: The song, if it can be opened.
        remark: A sentence on why not; empty for a recording like any other.
    """

    song: SongFile | None
    remark: str

    @classmethod
    def read(cls, path: Path, model: ModelRecord | None, most_seconds: float) -> SongUpload:
        """Read the song in an upload, for a server with this limit to the length of a piece.

        Args:
            model: Its model, which the song must have; None while it is being loaded.

        Raises:
            OSError: the file cannot be read.
        """
        try:
            song = read_song(path)
        except NoCodesError:
            if not has_mark(path):
                return cls(None, "")
            lost = "it was exported without them, or another program has written it since"
            return cls(None, f"{path.name} was made by hf_jukebox, but holds no codes: {lost}; {_AS_PROMPT}")
        except ValueError as error:
            reason = str(error).replace(str(path), path.name).rstrip(".")
            return cls(None, f"{reason}; {_AS_PROMPT}")
        theirs = song.step.model
        if model is not None and theirs.parts.get("vqvae") != model.parts["vqvae"]:
            return cls(
                None,
                f"{path.name} holds the codes of another model, {_shown(theirs)}, which mean other sounds to "
                f"{_shown(model)}; open it in an app of that model; here {_AS_PROMPT}",
            )
        if (seconds := song.run.seconds) > most_seconds:
            return cls(
                None,
                f"{path.name} is a piece of {seconds:.0f} s, and this server takes {most_seconds:.0f} s at most; "
                f"change --max-seconds to open it; {_AS_PROMPT}",
            )
        return cls(song, "")


def origin(song: SongFile, model: ModelRecord) -> str:
    """Return the sentences on where an opened song comes from, to show with the piece."""
    levels = ", ".join(map(str, song.step.request.levels))
    sentence = f"Opened from {song.path.name}, with its codes at level{'s' if ',' in levels else ''} {levels}."
    if is_sampled_by(song, model):
        return sentence
    return f"{sentence} {_shown(song.step.model)} has sampled it; what comes next is sampled by {_shown(model)}."


def is_sampled_by(song: SongFile, model: ModelRecord) -> bool:
    """Return whether exactly this model has sampled a song, adapters included."""
    theirs = song.step.model
    own, other = (sorted(each.effect for each in record.adapters) for record in (model, theirs))
    return own == other and theirs.parts.items() <= model.parts.items()


def _shown(model: ModelRecord) -> str:
    name = model_name(model.source)[:100] or "a model without a name"
    return name if not model.adapters else f"{name} with adapters"
