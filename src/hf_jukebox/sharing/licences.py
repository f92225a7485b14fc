"""Licences of weights, kept in the config of every model made from others."""

from __future__ import annotations

from collections.abc import Iterable

from .quoting import as_words

NON_COMMERCIAL = "jukebox-noncommercial"
"""Licence of OpenAI's weights and of everything made from them, in `weights_license` of a config."""

_LINK = "https://github.com/openai/jukebox/blob/master/LICENSE"
_NOTICE = (
    "The weights that OpenAI released for Jukebox may be used **for non-commercial purposes only**, and so may every "
    "model made from them by conversion, assembly or further training. These weights were converted from such a "
    "checkpoint, or made from one, so the same applies to them and to this copy."
)
_OUTPUTS = (
    "What the model makes resembles its training data. Check that a piece comes close to no recording of others before "
    "you publish it, and say that a model has made it."
)


def joined_licence(licences: Iterable[str | None]) -> str | None:
    """Return the licence of something made from several parts: non-commercial if one is, and theirs if they agree."""
    found = set(licences)
    if NON_COMMERCIAL in found:
        return NON_COMMERCIAL
    return found.pop() if len(found) == 1 else None


def licence_metadata(licence: str | None) -> dict[str, str]:
    """Return the fields of a card's front matter that state a licence."""
    if licence == NON_COMMERCIAL:
        return {"license": "other", "license_name": NON_COMMERCIAL, "license_link": _LINK}
    return {} if licence is None else {"license": licence}


def licence_text(licence: str | None) -> str:
    """Return the section of a card about the licence and the outputs."""
    if licence == NON_COMMERCIAL:
        return f"{_NOTICE}\n\n{_OUTPUTS}"
    stated = (
        "Its author has stated no licence yet"
        if licence is None
        else f"The weights are licensed under {as_words(licence)}"
    )
    return f"{stated}. {_OUTPUTS}"
