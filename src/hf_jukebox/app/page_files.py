"""The listening page of a run over HTTP, which may be somebody else's, and the sound files that it plays."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from .access import Access
from .audio_responses import attachment
from .store import NotFoundError, RunStore

_INDEX = "index.html"
_MOST_PAGE_BYTES = 2**26
_KEY = re.compile(r"[0-9a-f]{32}")


def add_page_route(app: FastAPI, store: RunStore, access: Access) -> None:
    """Add the route of listening pages.

    The guard takes the origin of the app from a page, and with it the cookie. So the page is at an address with a key,
    by which it reads its own files, also for WebAudio, and nothing else.
    """

    @app.get("/v1/runs/{run_id}/page/{path:path}")
    def page(request: Request, run_id: str, path: str) -> Response:
        """Return the listening page of a run, or a sound file that it plays."""
        given, _, rest = path.partition("/")
        has_key = access.is_page_key(given, run_id)
        is_old = not has_key and _KEY.fullmatch(given) is not None  # from before a restart
        file = _file(store.path(run_id), (rest if has_key or is_old else path) or _INDEX)
        if file.name != _INDEX:
            headers = {"Access-Control-Allow-Origin": "*"} if has_key else {}
            if request.headers.get("sec-fetch-dest") == "document":  # a link to save it
                headers |= attachment(f"{run_id}-{file.parent.name}-{file.name}")
            return FileResponse(file, headers=headers)
        if not has_key:
            return RedirectResponse(f"/v1/runs/{quote(run_id, safe='')}/page/{access.page_key(run_id)}/")
        if file.stat().st_size > _MOST_PAGE_BYTES:
            raise ValueError(f"The page is larger than {_MOST_PAGE_BYTES // 2**20} MiB; open it from its folder.")
        text = file.read_text("utf-8", "replace")
        return HTMLResponse(text.replace("<audio ", "<audio crossorigin "), headers={"Cache-Control": "no-cache"})


def _file(folder: Path, name: str) -> Path:
    """Return the page in a folder, or a sound file.

    Raises:
        NotFoundError: there is none of that name.
    """
    folder = folder.resolve()
    try:
        file = (folder / name).resolve()
        is_there = file.is_relative_to(folder) and file.is_file()
    except (OSError, ValueError):  # a name that no file can have
        is_there = False
    if not is_there or not (file == folder / _INDEX or file.suffix == ".wav"):
        raise NotFoundError("There is no such page yet; it is written when the first level is finished.")
    return file
