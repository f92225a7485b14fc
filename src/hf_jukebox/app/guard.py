"""Access to the server: who may use it, and which paths there are."""

from __future__ import annotations

import hmac
import json
import re
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .settings import AppSettings, is_loopback

COOKIE = "hf-jukebox-token"
# Of Gradio's own paths, those that its client needs: no uploads, no files, no proxy.
_GRADIO = re.compile(
    r"/config|/gradio_api/(startup-events|info|cancel|queue/(join|data)|heartbeat/\w+|call/\w+(/\w+)?)/?"
)
_OURS = re.compile(r"/|/login|/favicon\.ico|/static/[\w.-]+|/v1/.*")
_OPEN = re.compile(r"/login|/favicon\.ico|/static/(theme\.css|login\.css)|/gradio_api/startup-events")
_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'self'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
# The listening page of a run is one file with its style and script inside.
_PAGE_POLICY = (
    "default-src 'none'; img-src 'self' data:; media-src 'self' blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


class Guard:
    """ASGI middleware that refuses what does not come from the page itself or from somebody with the token.

    A page of another site can send requests to a server of this machine through the browser of its user: so the names
    under which a local server may be asked are those of this machine, and what changes something must not come from
    another origin.
    """

    def __init__(self, app: ASGIApp, settings: AppSettings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None and refusal[0] == 401 and scope["path"] == "/":
            await send({"type": "http.response.start", "status": 303, "headers": [(b"location", b"/login")]})
            await send({"type": "http.response.body", "body": b""})
            return
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        policy = _PAGE_POLICY if re.fullmatch(r"/v1/runs/[^/]+/page/.*", scope["path"]) else None

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = _SECURITY | ({} if policy is None else {"Content-Security-Policy": policy})
                added = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self.app(scope, receive, send_secured)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if self.settings.is_local and not is_loopback(_without_port(host)):
            return 403, f"This server is used as 127.0.0.1 or localhost, not as {host[:80]!r}."
        origin = headers.get("origin")
        if origin not in (None, "null") and urlsplit(origin).netloc != host:
            return 403, "Requests from the page of another site are refused."
        if not (_OURS.fullmatch(path) or _GRADIO.fullmatch(path)):
            return 404, "There is nothing here."
        if self.settings.token is None or _OPEN.fullmatch(path) or self._has_token(scope, headers):
            return None
        return 401, "Give the token: as a header 'Authorization: Bearer TOKEN', or on the page /login."

    def _has_token(self, scope: Scope, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        candidates = [given.strip()] if scheme.lower() == "bearer" else []
        candidates += parse_qs(scope["query_string"].decode("latin-1")).get("token", [])[:1]
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
            candidates += [cookies[COOKIE].value] if COOKIE in cookies else []
        except CookieError:
            pass
        return any(is_token(each, self.settings) for each in candidates)


def is_token(given: str, settings: AppSettings) -> bool:
    """Return whether a text is the token, in a time that does not depend on where it differs."""
    return settings.token is not None and hmac.compare_digest(given.encode(), settings.token.encode())


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _without_port(host: str) -> str:
    return re.sub(r":\d*$", "", host)
