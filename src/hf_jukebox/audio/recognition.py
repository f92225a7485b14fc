"""Recognition of a file's content by its first bytes, for messages that say why it cannot be read."""

from __future__ import annotations

from pathlib import Path

READABLE = "wav, flac, ogg (Vorbis or Opus) or mp3"

_UNSUPPORTED_SUFFIXES = {".aac", ".alac", ".ape", ".m4a", ".mka", ".mkv", ".mov", ".mp4", ".webm", ".wma", ".wv"}
_SUPPORTED_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}

# Audio that libsndfile does not read: offset, the bytes there, name of the format.
_UNSUPPORTED_AUDIO = [
    (4, b"ftyp", "MPEG-4 audio"),
    (0, b"\x30\x26\xb2\x75", "Windows Media audio or video"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"MPCK", "Musepack"),
    (0, b"TTA1", "True Audio"),
    (0, b"DSD ", "DSD audio"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"FLV", "Flash video"),
]
_NOT_AUDIO = [
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"version https://git-lfs", "a pointer of Git LFS"),
    (b"{", "JSON text"),
    (b"%pdf", "a PDF"),
    (b"pk\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89png", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"mthd", "MIDI: notes without sound"),
]


def not_readable(name: str) -> str:
    """Return the message for a file that is not audio of a supported format."""
    suffix = Path(name).suffix
    if suffix.lower() in _UNSUPPORTED_SUFFIXES:
        return f"{name}: {suffix} is not supported; convert it to {READABLE}."
    return f"{name} is not audio that can be read; give a {READABLE} file."


def unsupported(name: str, head: bytes) -> str | None:
    """Return the message for a file that begins with the bytes of another format; None if none is recognised."""
    suffix = Path(name).suffix.lower()
    despite = " in spite of its name" if suffix in _SUPPORTED_SUFFIXES else ""
    for offset, signature, kind in _UNSUPPORTED_AUDIO:
        if head[offset:].startswith(signature):
            if suffix in _UNSUPPORTED_SUFFIXES:
                return not_readable(name)
            return f"{name} is {kind}{despite}; convert it to {READABLE}."
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for signature, kind in _NOT_AUDIO:
        if text.startswith(signature):
            return f"{name} is {kind}{despite}; give a {READABLE} file."
    return None
