"""Names of song folders within a run, which must stay inside it and have no other meaning there or to a system."""

from __future__ import annotations

import re

REQUEST = "request.json"  # every run has it

_MOST_BYTES = 255  # of a name in a file system
_OWN = re.compile(r"(codes|state|earlier|alignment|level_.*|index\.html|request\.json|audio\.json)", re.IGNORECASE)
_NEW = re.compile(r"(surprise|export|job\.json)", re.IGNORECASE)  # earlier versions let songs have these names
_SEPARATORS = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check_new_song_folder(name: str) -> None:
    """Refuse a name that cannot be the folder of a new song within a batch.

    Raises:
        ValueError: the name cannot be used; the message says why.
    """
    check_song_folder(name)
    if _NEW.fullmatch(name):
        raise _reserved(name)


def check_song_folder(name: str) -> None:
    """Refuse a name that cannot be the folder of a song of a run that exists, here or on another system.

    Raises:
        ValueError: the name cannot be used; the message says why.
    """
    shown = _shown(name)
    if not name or name.strip(" .") == "" or name[-1] in " ." or name.startswith("."):
        raise ValueError(f"{shown} cannot name a song's folder; begin it with a letter, and end it without a dot.")
    if _SEPARATORS.search(name):
        raise ValueError(f"{shown} cannot name a song's folder; leave out slashes, colons and the like.")
    if _OWN.fullmatch(name) or _DEVICES.fullmatch(name):
        raise _reserved(name)
    if len(name.encode("utf-8", "surrogateescape")) > _MOST_BYTES:
        raise ValueError(f"{shown} is too long to name a song's folder; shorten it.")


def _reserved(name: str) -> ValueError:
    return ValueError(f"{_shown(name)} cannot name a song's folder, since it is reserved; choose another one.")


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:60]}...")
