"""Passwords: the token, the cookie of a browser that has given it, and the keys of listening pages."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time

from .settings import AppSettings

_PAUSE_IN_S = 0.5  # between two wrong tokens, whoever gives them
_MOST_WAITING = 20


class TooManyGuessesError(Exception):
    """Error for a token that is not looked at, since too many wrong ones are waiting for their answer."""


class Access:
    """Check of tokens, cookies and keys.

    Cookies and keys follow from the token, so that a browser stays logged in when the server is restarted with it;
    without a token they belong to one start of the server.

    Args:
        settings: Settings of the server; their token is None if everyone may use it.

    Attributes:
        cookie: Content of the cookie of who has given the token; the token cannot be found from it.
    """

    def __init__(self, settings: AppSettings) -> None:
        self.token = settings.token
        self._secret = secrets.token_bytes(32) if self.token is None else _slow_hash(self.token)
        self.cookie = self._signed(f"cookie {self.token}")
        self._one_at_a_time = asyncio.Lock()
        self._num_waiting = 0
        self._next_look = 0.0

    async def is_token(self, given: str) -> bool:
        """Return whether a text is the token; after a wrong one, the next is looked at half a second later.

        Raises:
            TooManyGuessesError: many wait for that already.
        """
        if self._num_waiting >= _MOST_WAITING:
            raise TooManyGuessesError
        self._num_waiting += 1
        try:
            async with self._one_at_a_time:
                if (pause := self._next_look - time.monotonic()) > 0:
                    await asyncio.sleep(pause)
                if self.token is not None and _is_same(given, self.token):
                    return True
                self._next_look = time.monotonic() + _PAUSE_IN_S
                return False
        finally:
            self._num_waiting -= 1

    def is_cookie(self, given: str) -> bool:
        """Return whether a text is the content of the cookie."""
        return _is_same(given, self.cookie)

    def page_key(self, run_id: str) -> str:
        """Return the key in the address of the listening page of a run, 32 hexadecimal digits."""
        return self._signed(f"page {run_id}")[:32]

    def is_page_key(self, given: str, run_id: str) -> bool:
        """Return whether a text is the key of the listening page of a run."""
        return _is_same(given, self.page_key(run_id))

    def _signed(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


def _slow_hash(token: str) -> bytes:
    """Return a hash that takes long enough (some 50 ms) that a short token cannot be found from a cookie by trials."""
    return hashlib.scrypt(token.encode(), salt=b"hf_jukebox app", n=2**14, r=8, p=1)


def _is_same(given: str, expected: str) -> bool:
    """Compare two texts in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
