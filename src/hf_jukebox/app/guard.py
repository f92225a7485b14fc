"""Access to the server: who may use it, and which paths there are."""

from __future__ import annotations

import json
import re
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access import Access, TooManyGuessesError
from .settings import AppSettings, is_loopback

COOKIE = "hf-jukebox-token"
_UPLOAD = "/v1/prompts"  # whose route has a limit of its own
_MOST_BYTES, _MOST_LOGIN_BYTES = 2**20, 2**12  # of the body of a request
# Of Gradio's own paths, those that its client needs: no uploads, no files, no proxy.
_GRADIO = re.compile(
    r"/config|/gradio_api/(startup-events|info|cancel|queue/(join|data)|heartbeat/\w+|call/\w+(/\w+)?)/?"
)
_OURS = re.compile(r"/|/login|/favicon\.ico|/static/[\w.-]+|/v1/.*")
_OPEN = re.compile(r"/login|/favicon\.ico|/static/(theme\.css|login\.css)|/gradio_api/startup-events")
_PAGE = re.compile(r"/v1/runs/([^/]+)/page/(?:([0-9a-f]{32})/)?.*", re.DOTALL)
_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'self'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
# The listening page of a run is one file with its style and script inside. The run may be somebody else's, and so its
# script: it has no origin, so that it cannot act as the user of the app, and asks for nothing but sound.
_PAGE_SECURITY = _SECURITY | {
    "Content-Security-Policy": (
        "sandbox allow-scripts allow-downloads; default-src 'none'; img-src data:; media-src 'self' blob:; "
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
TOO_MANY = 429, "Too many wrong tokens were given; try again in a minute."


class Guard:
    """ASGI middleware that refuses what does not come from the page itself or from somebody with the token.

    A page of another site can send requests to a server of this machine through the browser of its user: so the names
    under which a local server may be asked are those of this machine, and what changes something must not come from
    another origin.
    """

    def __init__(self, app: ASGIApp, settings: AppSettings, access: Access) -> None:
        self.app, self.settings, self.access = app, settings, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), scope["path"]
        page = _PAGE.fullmatch(path)
        has_key = page is not None and self.access.is_page_key(page[2] or "", page[1])
        refusal = self._refusal(headers, path, has_key=has_key)
        if refusal is None and not has_key:
            refusal = await self._token_refusal(scope, headers)
        if refusal is not None and refusal[0] == 401 and path == "/":
            await send({"type": "http.response.start", "status": 303, "headers": [(b"location", b"/login")]})
            await send({"type": "http.response.body", "body": b""})
            return
        if refusal is None and path != _UPLOAD:
            most = _MOST_LOGIN_BYTES if path == "/login" else _MOST_BYTES
            body = await _read(headers, receive, most)
            if body is None:
                refusal = 413, f"The body of the request is larger than {most // 1024} KiB; send a shorter one."
            else:
                receive = _replayed(body, receive)
        if refusal is not None:
            await _refuse(send, *refusal)
            return

        security = _SECURITY if page is None else _PAGE_SECURITY

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), value.encode()) for name, value in security.items()]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self.app(scope, receive, send_secured)

    def _refusal(self, headers: Headers, path: str, *, has_key: bool) -> tuple[int, str] | None:
        """Return status and sentence for what is refused whoever asks."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.settings.is_local and not is_loopback(_without_port(host)):
            return 403, f"This server is used as 127.0.0.1 or localhost, not as {host[:80]!r}."
        if origin == "null":  # a frame that any site can make, a listening page, or a page that keeps its origin back
            is_ours = has_key or headers.get("sec-fetch-site") in ("same-origin", "none")
        else:
            is_ours = origin is None or urlsplit(origin).netloc == host
        if not is_ours:
            return 403, "Requests from the page of another site are refused."
        if not (_OURS.fullmatch(path) or _GRADIO.fullmatch(path)):
            return 404, "There is nothing here."
        return None

    async def _token_refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Return status and sentence for who has not given the token."""
        if self.settings.token is None or _OPEN.fullmatch(scope["path"]):
            return None
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
            if COOKIE in cookies and self.access.is_cookie(cookies[COOKIE].value):
                return None
        except CookieError:
            pass
        scheme, _, given = headers.get("authorization", "").partition(" ")
        candidates = [given.strip()] if scheme.lower() == "bearer" else []
        candidates += parse_qs(scope["query_string"].decode("latin-1")).get("token", [])[:1]
        try:
            for each in candidates:
                if await self.access.is_token(each):
                    return None
        except TooManyGuessesError:
            return TOO_MANY
        return 401, "Give the token: as a header 'Authorization: Bearer TOKEN', or on the page /login."


async def _read(headers: Headers, receive: Receive, most: int) -> list[Message] | None:
    """Receive the body of a request; None if it is too large."""
    length = headers.get("content-length", "0")
    if length.isdecimal() and len(length) < 20 and int(length) > most:
        return None
    messages, size = [], 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if size > most:
            return None
        if not message.get("more_body", False):  # the end, or the client has gone
            return messages


def _replayed(messages: list[Message], receive: Receive) -> Receive:
    """Return a function that receives messages again, and then what comes after them."""

    async def replay() -> Message:
        return messages.pop(0) if messages else await receive()

    return replay


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 413:  # the rest of the body is not read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _without_port(host: str) -> str:
    return re.sub(r":\d*$", "", host)
