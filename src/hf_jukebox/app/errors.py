"""Errors over HTTP: each is one sentence in JSON."""

from __future__ import annotations

import logging
import re

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from .store import NotFoundError
from .worker import BusyError

logger = logging.getLogger(__name__)

_LONG_NUMBER = re.compile(r"\d{25,}")
_NOT_JSON = "The body of the request cannot be read as JSON; send an object of plain values."


class TooLargeError(ValueError):
    """Error for a recording that is larger than the limit."""


_STATUSES = {NotFoundError: 404, BusyError: 409, TooLargeError: 413, ValueError: 400, OSError: 400}


def add_error_handlers(app: FastAPI) -> None:
    """Answer to every error of a request with `{"error": sentence}`."""

    def answer(request: Request, status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
        sentence = _LONG_NUMBER.sub(lambda number: f"{number[0][:20]}...", sentence)
        logger.warning("%s %s: %s", request.method, request.url.path[:200], sentence)
        return JSONResponse({"error": sentence}, status, headers)

    async def as_sentence(request: Request, error: Exception) -> Response:
        status = next(status for kind, status in _STATUSES.items() if isinstance(error, kind))
        return answer(request, status, str(error), {"Connection": "close"} if status == 413 else None)

    async def as_field(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part != "body")
        return answer(request, 400, f"{field or 'The request'}: {first['msg'].rstrip('.')}.")

    async def as_status(request: Request, error: Exception) -> Response:
        """Answer to what the framework itself refuses."""
        assert isinstance(error, HTTPException)
        sentences = {
            400: _NOT_JSON,
            404: "There is nothing here.",
            405: f"Nothing here takes {request.method}; see docs/app.md for the requests that there are.",
        }
        return answer(
            request, error.status_code, sentences.get(error.status_code, error.detail), dict(error.headers or {})
        )

    async def too_deep(request: Request, error: Exception) -> Response:
        return answer(request, 400, _NOT_JSON)

    for kind in _STATUSES:
        app.add_exception_handler(kind, as_sentence)
    app.add_exception_handler(RequestValidationError, as_field)
    app.add_exception_handler(HTTPException, as_status)
    app.add_exception_handler(RecursionError, too_deep)
