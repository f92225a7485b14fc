"""Settings of the app: where its runs are, what it accepts, and who may use it."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AppSettings:
    """Settings of a server.

    Args:
        runs: Folder of the runs; nothing outside of it is read or written.
        host, port: Address to bind to; with port 0 the first free one from 7860 on.
        token: Password of the page and token of the interface; None for everyone who can reach it.
        max_upload_bytes: Largest recording.
        max_prompt_seconds: Longest recording.
        max_seconds: Longest piece.
        max_candidates: Most songs at a time.
        max_queued: Most runs that wait.

    Raises:
        ValueError: the token cannot be sent in a header.
    """

    runs: Path
    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    max_upload_bytes: int = 100 * 2**20
    max_prompt_seconds: float = 600.0
    max_seconds: float = 600.0
    max_candidates: int = 8
    max_queued: int = 50

    def __post_init__(self) -> None:
        token = self.token
        if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token != ""):
            raise ValueError(
                "`token` must be of ASCII letters, digits and signs, without a space at its ends, since programs send "
                "it in a header."
            )

    @property
    def is_local(self) -> bool:
        """True if only this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Return whether an address, as it stands in a Host header without its port, is that of this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """Return a token that cannot be guessed."""
    return secrets.token_urlsafe(16)
