"""The interface over HTTP: runs, their audio, prompts."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from ..audio import audio_info
from .access import Access
from .audio_responses import attachment, audio_response, peaks_view
from .errors import TooLargeError, add_error_handlers
from .interface import Interface
from .page_files import add_page_route
from .peaks import PER_SECOND, file_peaks
from .run_list import RunList
from .schemas import Back, Continuation, NewRun, Pick, Upsampling
from .store import NotFoundError

logger = logging.getLogger(__name__)

_EVENT_PAUSE_IN_S = 0.25
_KEEP_ALIVE_IN_S = 15.0
_AUDIO_TYPES = {".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".mp3": "audio/mpeg"}


def add_routes(app: FastAPI, interface: Interface, access: Access) -> None:
    """Add the interface to a server; every error is a sentence in JSON."""
    store, worker = interface.store, interface.worker
    add_error_handlers(app)

    @app.get("/v1/model")
    def model() -> dict[str, Any]:
        return interface.server_view()

    @app.get("/v1/estimate")
    def estimate(seconds: float, given: float = 0.0, candidates: int = 1, levels: str = "") -> dict[str, Any]:
        wanted = [int(level) for level in levels.split(",")] if levels else None
        interface.check_levels(wanted)
        return {"seconds": interface.estimate(seconds, given, candidates, wanted)}

    run_list = RunList(store, worker)

    @app.get("/v1/runs")
    def runs() -> list[dict[str, Any]]:
        return run_list.views()

    @app.post("/v1/runs", status_code=201)
    def create(body: NewRun) -> dict[str, Any]:
        return interface.view(interface.create(body))

    @app.get("/v1/runs/{run_id}")
    async def run(run_id: str, request: Request, until: Literal["", "done"] = "") -> Response:
        view = await run_in_threadpool(interface.view, run_id)
        if "text/event-stream" not in request.headers.get("accept", ""):
            return JSONResponse(view)
        events = _events(lambda: interface.view(run_id), until == "done")
        return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    @app.delete("/v1/runs/{run_id}", status_code=204)
    def delete(run_id: str) -> None:
        interface.delete(run_id)

    def act(run_id: str, action: Callable[[], object]) -> dict[str, Any]:
        store.path(run_id)
        action()
        return interface.view(run_id)

    @app.post("/v1/runs/{run_id}/stop")
    def stop(run_id: str) -> dict[str, Any]:
        return act(run_id, lambda: interface.stop(run_id))

    @app.post("/v1/runs/{run_id}/resume")
    def resume(run_id: str) -> dict[str, Any]:
        return act(run_id, lambda: interface.resume(run_id))

    @app.post("/v1/runs/{run_id}/pick")
    def pick(run_id: str, body: Pick) -> dict[str, Any]:
        return act(run_id, lambda: worker.pick(run_id, body.candidate))

    @app.post("/v1/runs/{run_id}/continue")
    def continue_(run_id: str, body: Continuation) -> dict[str, Any]:
        return act(run_id, lambda: interface.advance(run_id, body))

    @app.post("/v1/runs/{run_id}/upsample")
    def upsample(run_id: str, body: Upsampling) -> dict[str, Any]:
        return act(run_id, lambda: interface.advance(run_id, body))

    @app.post("/v1/runs/{run_id}/back", status_code=201)
    def back(run_id: str, body: Back) -> dict[str, Any]:
        return interface.view(store.branch(run_id, body.step))

    _add_audio_routes(app, interface)
    add_page_route(app, interface.store, access)
    _add_prompt_routes(app, interface)

    @app.api_route("/v1/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def nothing(rest: str) -> None:
        raise NotFoundError("There is nothing here; see docs/app.md for the paths that there are.")


def _add_audio_routes(app: FastAPI, interface: Interface) -> None:
    store, worker = interface.store, interface.worker

    def opened(run_id: str) -> Any:
        run = store.open(run_id)
        if run is None:
            raise NotFoundError("This run has not begun yet.")
        return run

    @app.api_route("/v1/runs/{run_id}/audio/{level}/{item}", methods=["GET", "HEAD"])
    async def audio(request: Request, run_id: str, level: int, item: int, download: bool = False) -> Response:
        run = await run_in_threadpool(opened, run_id)
        return audio_response(request, run_id, run, level, item, worker, is_download=download)

    @app.get("/v1/runs/{run_id}/peaks/{level}/{item}")
    def peaks(run_id: str, level: int, item: int, first: int = 0) -> dict[str, Any]:
        return dict(peaks_view(run_id, opened(run_id), level, item, worker, max(first, 0)))


def _add_prompt_routes(app: FastAPI, interface: Interface) -> None:
    store = interface.store
    limit = store.settings.max_upload_bytes
    too_large = f"The recording is larger than {limit / 2**20:.0f} MiB, the limit of this server; give a shorter one."

    @app.post("/v1/prompts", status_code=201)
    async def upload(request: Request, name: str = "prompt") -> dict[str, Any]:
        """Receive a recording as the body of the request, block by block."""
        if int(request.headers.get("content-length") or 0) > limit:
            raise TooLargeError(too_large)
        prompt_id, path = await run_in_threadpool(store.new_upload)
        try:
            await _receive(request, path, limit, too_large)
            kept, seconds, peaks = await run_in_threadpool(store.keep_upload, path, name)
            found = await run_in_threadpool(song_view, path.with_name(kept))
        except BaseException as error:
            store.drop_upload(path)
            if isinstance(error, ClientDisconnect):
                logger.warning("The upload of %r was cut off; nothing of it is kept.", name[:80])
            raise
        return {"prompt": prompt_id, "name": kept, "seconds": seconds, "peaks": peaks} | found

    def song_view(path: Path) -> dict[str, Any]:
        """Return the length and the levels of the song in an upload, if it can be opened, or a sentence why not."""
        song, remark = interface.look_at(path)
        levels = [] if song is None else song.step.request.levels
        return {"song": None if song is None else {"seconds": song.run.seconds, "levels": levels}, "remark": remark}

    @app.post("/v1/prompts/{prompt_id}/open", status_code=201)
    def open_song(prompt_id: str) -> dict[str, Any]:
        return interface.view(interface.open_song(prompt_id))

    @app.get("/v1/prompts/{prompt_id}")
    def prompt(prompt_id: str) -> Response:
        path = store.prompt(prompt_id)
        kind = _AUDIO_TYPES.get(path.suffix.lower())
        if kind is None:  # a name of the sender's choice is no reason to show it as a page
            return FileResponse(path, media_type="application/octet-stream", headers=attachment(path.name))
        return FileResponse(path, media_type=kind)

    @app.get("/v1/prompts/{prompt_id}/peaks")
    def prompt_peaks(prompt_id: str) -> dict[str, Any]:
        path = store.prompt(prompt_id)
        peaks = file_peaks(path, audio_info(path))
        return {"prompt": prompt_id, "name": path.name, "seconds": len(peaks) / PER_SECOND, "peaks": peaks}


async def _receive(request: Request, path: Path, limit: int, too_large: str) -> None:
    """Write the body of a request to a file, and refuse it as soon as it is too large."""
    size = 0
    with path.open("wb") as file:
        async for block in request.stream():
            size += len(block)
            if size > limit:
                raise TooLargeError(too_large)
            await run_in_threadpool(file.write, block)


async def _events(view: Callable[[], dict[str, Any]], until_done: bool) -> AsyncIterator[str]:
    """Yield the state of a run as server-sent events: at once, and whenever it changes, until it is deleted.

    Args:
        until_done: End when the run is neither sampled nor waiting.
    """
    last, sent = "", time.monotonic()
    while True:
        try:
            state = await run_in_threadpool(view)
        except (OSError, ValueError) as error:
            yield f"event: gone\ndata: {json.dumps({'error': str(error)})}\n\n"
            return
        text = json.dumps(state)
        if text != last:
            last, sent = text, time.monotonic()
            yield f"data: {text}\n\n"
        elif time.monotonic() - sent > _KEEP_ALIVE_IN_S:
            sent = time.monotonic()
            yield ": still here\n\n"
        if until_done and state["state"] not in ("running", "queued"):
            return
        await asyncio.sleep(_EVENT_PAUSE_IN_S)
