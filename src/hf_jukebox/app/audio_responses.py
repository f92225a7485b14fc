"""Audio as responses: finished files, and files that grow while the music is sampled or decoded, with ranges."""

from __future__ import annotations

import asyncio
import re
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
from fastapi import Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from ..audio.riff import wav_header
from ..runs.contents import RunReader
from .live_audio import GrowingAudio
from .peaks import PER_SECOND, pcm_peaks, samples_before
from .store import NotFoundError
from .worker import Worker

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_BLOCK = 2**16
_PAUSE_IN_S = 0.1  # between two looks for more audio


def audio_response(
    request: Request, run_id: str, run: RunReader, level: int, item: int, worker: Worker, *, is_download: bool
) -> Response:
    """Return the audio of a candidate at a level; one that has no file yet arrives as it is sampled or decoded.

    Raises:
        NotFoundError: there is none yet.
    """
    path = _final_path(run, level, item)
    name = f"{run_id}-candidate-{item}-level-{level}.wav"
    disposition = attachment(name) if is_download else {}
    if path is not None:
        return FileResponse(path, media_type="audio/wav", headers={"Cache-Control": "no-cache"} | disposition)
    live = worker.unfinished_audio(run_id, run, level, item)
    if live is None:
        raise NotFoundError(f"Candidate {item} has no audio at level {level} yet.")
    samples = live.total or run.song_length(item) * run.step.model.hop_lengths[-1]
    header = wav_header(samples, run.sampling_rate)
    total = len(header) + 2 * samples
    start, end = 0, total - 1
    if match := _RANGE.fullmatch(request.headers.get("range", "")):
        start, end = int(match[1]), min(int(match[2] or total - 1), total - 1)
        if start > end:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{total}"})
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "no-store", "Content-Length": str(end + 1 - start)}
    if match:
        headers["Content-Range"] = f"bytes {start}-{end}/{total}"
    body = _grow(header, live, start, end + 1)
    return StreamingResponse(body, 206 if match else 200, headers | disposition, "audio/wav")


def attachment(name: str) -> dict[str, str]:
    """Return the header by which a browser saves a response as a file of this name (RFC 6266)."""
    named = f'filename="{name}"' if name.isascii() else f"filename*=UTF-8''{quote(name, safe='')}"
    return {"Content-Disposition": f"attachment; {named}"}


def peaks_view(
    run_id: str, run: RunReader, level: int, item: int, worker: Worker, first: int
) -> dict[str, int | bool | list[int]]:
    """Return the peaks of a candidate from one on, as far as there are any, and whether more will come.

    Raises:
        NotFoundError: there is no such candidate or level.
    """
    rate = run.sampling_rate
    path = _final_path(run, level, item)
    offset = samples_before(first, rate)
    view: dict[str, int | bool | list[int]] = {"per_second": PER_SECOND, "first": first, "final": path is not None}
    if path is not None:
        with path.open("rb") as file, wave.open(file) as audio:
            audio.setpos(min(offset, audio.getnframes()))
            samples, is_growing = np.frombuffer(audio.readframes(audio.getnframes() - offset), "<i2"), False
    else:
        live = worker.unfinished_audio(run_id, run, level, item)
        if live is None:  # it has just been stopped, or has not begun
            return view | {"peaks": [], "growing": False}
        is_growing = live.is_growing  # before the samples are counted
        whole = live.num_samples * PER_SECOND // rate
        count = max(samples_before(whole, rate) - offset, 0)
        samples = np.fromfile(live.path, "<i2", count=count, offset=2 * offset)
    return view | {"peaks": pcm_peaks(samples, rate), "growing": is_growing}


def _final_path(run: RunReader, level: int, item: int) -> Path | None:
    """Return the finished file of a candidate, if it is that of the current step."""
    if not 0 <= level < len(run.step.known) or not 0 <= item < len(run.request.songs):
        raise NotFoundError(f"There is no candidate {item} at level {level}.")
    path = run.audio_path(level, item)
    if item in run.missing_audio(level) or path.is_symlink():
        return None
    return path


async def _grow(header: bytes, live: GrowingAudio, start: int, end: int) -> AsyncIterator[bytes]:
    """Yield the bytes from start to end of a wav file, waiting for those that are not there yet."""
    if start < len(header):
        yield header[start : min(end, len(header))]
    position = max(start - len(header), 0)
    with live.path.open("rb") as file:
        file.seek(position)
        while position < end - len(header):
            available = min(2 * live.num_samples, end - len(header)) - position
            if available > 0:
                block = file.read(min(available, _BLOCK))
                position += len(block)
                yield block
            elif live.is_growing:
                await asyncio.sleep(_PAUSE_IN_S)
            else:
                return  # the run was stopped
