"""The server: Gradio's, with the project's own page and interface."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response

from ..console.lines import write_line
from ..pipeline_jukebox import JukeboxPipeline
from .access import Access, TooManyGuessesError
from .guard import COOKIE, TOO_MANY, Guard
from .interface import Interface
from .routes import add_routes
from .schemas import NewRun
from .settings import AppSettings
from .store import NotFoundError, RunStore
from .worker import Worker

_STATIC = Path(__file__).parent / "static"
_THEME = Path(__file__).parents[1] / "report" / "page_theme.css"
_FIRST_PORT, _NUM_PORTS = 7860, 100
_COOKIE_AGE_IN_S = 30 * 24 * 3600


def build_server(settings: AppSettings, load: Callable[[], JukeboxPipeline]) -> tuple[Any, Worker]:
    """Return a `gradio.Server` with all routes, and the worker, which is not started yet.

    Args:
        settings: Folder, limits and token.
        load: Loads the pipeline, in the thread of the worker.

    Raises:
        ImportError: Gradio is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from gradio import Server

    store = RunStore(settings)
    worker = Worker(store, load)
    interface = Interface(store, worker)
    server = Server(title="hf_jukebox", docs_url=None, redoc_url=None, openapi_url=None)
    access = Access(settings)
    server.add_middleware(Guard, settings=settings, access=access)
    _add_pages(server, access)
    add_routes(server, interface, access)
    _add_functions(server, interface)
    return server, worker


def launch(server: Any, settings: AppSettings) -> int:
    """Start listening, in threads of its own, and return the port.

    Raises:
        OSError: the port is taken.
    """
    last = _FIRST_PORT + _NUM_PORTS if settings.port == 0 else settings.port
    os.environ["GRADIO_NUM_PORTS"] = str(_NUM_PORTS)
    try:
        _, url, _ = server.launch(
            server_name=settings.host,
            server_port=settings.port or None,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            inbrowser=False,
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            max_file_size=1,  # uploads come by a route of our own
            _frontend=False,
        )
    except OSError as error:
        raise OSError(f"The port {settings.port or f'{_FIRST_PORT} to {last}'} of {settings.host} is taken; "
                      "give another one with --port.") from error  # fmt: skip
    return int(url.rstrip("/").rsplit(":", 1)[1])


def serve(settings: AppSettings, load: Callable[[], JukeboxPipeline], on_ready: Callable[[int], None]) -> None:
    """Serve until interrupted; the run in progress is saved, and goes on at the next start."""
    server, worker = build_server(settings, load)
    port = launch(server, settings)
    worker.start()
    on_ready(port)
    try:
        while True:
            time.sleep(3600)
    finally:
        write_line("Saving the run in progress ...")
        worker.close()


def _add_pages(server: Any, access: Access) -> None:
    def static(name: str) -> Response:
        path = _THEME if name == "theme.css" else _STATIC / name
        if not path.is_file():
            raise NotFoundError("There is no such file.")
        return FileResponse(path, headers={"Cache-Control": "no-cache"})

    @server.get("/static/{name}")
    def static_file(name: str) -> Response:
        return static(name)

    @server.get("/")
    def page(request: Request) -> Response:
        if "token" in request.query_params:  # the guard has checked it
            return _with_cookie(RedirectResponse("/", 303), access)
        return static("index.html")

    @server.get("/login")
    def login_page(wrong: bool = False) -> Response:
        text = (_STATIC / "login.html").read_text("utf-8")
        return HTMLResponse(text.replace("<!-- wrong -->", "That is not the password." if wrong else ""))

    @server.post("/login")
    async def login(request: Request) -> Response:
        given = parse_qs((await request.body()).decode("utf-8", "replace")).get("token", [""])[0]
        try:
            if not await access.is_token(given):
                return RedirectResponse("/login?wrong=1", 303)
        except TooManyGuessesError:
            status, sentence = TOO_MANY
            return JSONResponse({"error": sentence}, status)
        return _with_cookie(RedirectResponse("/", 303), access)

    @server.get("/favicon.ico")
    def icon() -> Response:
        return FileResponse(_STATIC / "icon.svg", media_type="image/svg+xml")


def _with_cookie(response: Response, access: Access) -> Response:
    response.set_cookie(COOKIE, access.cookie, max_age=_COOKIE_AGE_IN_S, httponly=True, samesite="strict")
    return response


def _add_functions(server: Any, interface: Interface) -> None:
    """Add the functions that Gradio's client calls; they go through the same queue."""

    @server.api(name="sample", concurrency_limit=None)
    def sample(
        prompt: str = "",
        seconds: float = 10.0,
        prompt_seconds: float = 0.0,
        artist: str = "",
        genre: str = "",
        lyrics: str = "",
        candidates: int = 1,
        top_level_only: bool = False,
        seed: int = -1,
    ) -> Iterator[dict[str, Any]]:
        """Sample a run and yield its state until it is finished; "example" is the shipped prompt."""
        pipeline = interface.worker.pipeline
        levels = None if not top_level_only or pipeline is None else [max(p.config.level for p in pipeline.priors if p)]
        body = NewRun(
            prompt=prompt or None,
            seconds=seconds,
            prompt_seconds=prompt_seconds or None,
            artist=artist or None,
            genre=genre or None,
            lyrics=lyrics or None,
            candidates=candidates,
            levels=levels,
            seed=None if seed < 0 else seed,
        )
        yield from _watch(interface, _in_sentences(lambda: interface.create(body)))

    @server.api(name="state", queue=False)
    def state(run_id: str) -> dict[str, Any]:
        """Return the state of a run."""
        return _in_sentences(lambda: interface.view(run_id))

    @server.api(name="stop", queue=False)
    def stop(run_id: str) -> dict[str, Any]:
        """Stop a run; everything is kept."""
        _in_sentences(lambda: interface.stop(run_id))
        return state(run_id)


def _watch(interface: Interface, run_id: str) -> Iterator[dict[str, Any]]:
    last: dict[str, Any] = {}
    while True:
        view = _in_sentences(lambda: interface.view(run_id))
        if view != last:
            last = view
            yield view
        if view["state"] not in ("running", "queued"):
            return
        time.sleep(0.25)


def _in_sentences(make: Callable[[], Any]) -> Any:
    """Return a result; an error is shown to the caller as a sentence."""
    from gradio import Error

    try:
        return make()
    except (ValueError, OSError) as error:
        raise Error(str(error), print_exception=False) from error
