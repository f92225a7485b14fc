"""The state of runs and of the model, as the interface shows it."""

from __future__ import annotations

from collections.abc import Container
from typing import Any
from urllib.parse import quote

from ..pipeline_jukebox import JukeboxPipeline
from ..runs.command_lines import run_commands
from ..runs.contents import RunReader
from ..runs.model_source import model_name
from ..runs.names import REQUEST
from ..runs.run_page import prompt_codes
from .schemas import Job
from .store import RunStore
from .worker import Worker


def model_view(pipeline: JukeboxPipeline) -> dict[str, Any]:
    """Return what the model can do: its levels, its names, and which labels it uses."""
    priors = [prior for prior in pipeline.priors if prior is not None]
    top = pipeline.priors[-1]
    labelled = [prior.config for prior in priors if prior.config.has_labels]
    return {
        "name": model_name(pipeline.model_record().source) or "a model",
        "levels": [prior.config.level for prior in priors],
        "sampling_rate": pipeline.sampling_rate,
        "window_in_s": 0 if top is None else top.config.n_ctx * pipeline.hierarchy.top_hop / pipeline.sampling_rate,
        "artists": sorted({name for config in labelled for name in config.artists or ()} - {"unknown"}),
        "genres": sorted({name for config in labelled for name in config.genres or ()} - {"unknown"}),
        "lyrics": any(config.n_lyrics for config in labelled),
    }


def run_view(run_id: str, store: RunStore, worker: Worker) -> dict[str, Any]:
    """Return everything about a run.

    Raises:
        NotFoundError: there is none.
        OSError, ValueError: it is damaged.
    """
    job, run = store.job(run_id), store.open(run_id)
    complete = {} if run is None else run.audio_paths()
    state = state_of(run_id, job, run, worker, complete)
    view = brief(run_id, job, state) | {
        "place": worker.place(run_id),
        "error": job.error,
        "remarks": job.remarks,
        "parent": job.parent,
        "origin": job.origin,
        "progress": worker.progress if state == "running" else {},
    }
    if run is None:
        body = {} if job.pending is None else job.pending.body
        waiting: dict[str, Any] = {
            "seconds": body.get("seconds"),
            "candidates": [],
            "audio": [],
            "steps": [],
            "commands": [],
        }
        return view | waiting | {"prompt_seconds": 0, "seed": body.get("seed"), "levels": []}
    hop = run.step.model.hop_lengths[-1]
    given = max(prompt_codes(run.steps)) * hop / run.sampling_rate
    return view | {
        "seconds": round(run.seconds, 3),
        "prompt_seconds": round(given, 3),
        "seed": run.request.seed,
        "levels": run.request.levels,
        "candidates": [
            {"artist": song.artist, "genre": song.genre, "lyrics": song.lyrics, "prompt": song.prompt}
            for song in run.request.songs
        ],
        "audio": _audio(run_id, run, worker, complete),
        "steps": _steps(run),
        "commands": run_commands(run),
        "model": model_name(run.step.model.source),
        "all_levels": list(range(len(run.step.known))),
    }


def brief(run_id: str, job: Job, state: str) -> dict[str, Any]:
    """Return what the list shows of a run."""
    return {"id": run_id, "title": job.title or job.prompt or "Untitled", "state": state}


def state_of(run_id: str, job: Job, run: RunReader | None, worker: Worker, complete: Container[int]) -> str:
    """Return the state of a run whose levels `complete` have all their audio."""
    if worker.current == run_id:
        return "running"
    if worker.place(run_id) is not None:
        return "queued"
    if job.error:
        return "failed"
    if run is None:
        return "stopped"
    if all(level in complete for level in run.request.levels):
        return "finished"
    return "finished" if job.origin and worker.kept.is_complete(run) else "stopped"  # a song file holds no audio


def _audio(run_id: str, run: RunReader, worker: Worker, complete: Container[int]) -> list[dict[str, Any]]:
    """Return the audio that can be heard: finished files, and what is sampled so far."""
    found, hops = [], run.step.model.hop_lengths
    for level in range(len(run.step.known) - 1, -1, -1):
        is_final = level in complete
        codes = [] if is_final or worker.current == run_id else worker.kept.num_codes(run, level)
        for song in range(len(run.request.songs)):
            url = f"/v1/runs/{quote(run_id, safe='')}/audio/{level}/{song}?step={len(run.steps)}"
            if is_final:
                samples = run.song_length(song) * hops[-1]
            elif codes:
                samples = codes[song] * hops[level]
                url += f"&codes={codes[song]}"  # another file than the one that grew while it was sampled
            else:
                live = worker.live.get(run_id, level, song)
                samples = 0 if live is None else live.num_samples
            if samples:
                seconds = round(samples / run.sampling_rate, 3)
                found.append({"level": level, "item": song, "seconds": seconds, "final": is_final, "url": url})
    return found


def _steps(run: RunReader) -> list[dict[str, Any]]:
    """Return the steps of a run; those before a pick are kept and can be gone back to."""
    steps = []
    for number, step in enumerate(run.steps):
        song = step.request.songs[0]
        steps.append(
            {
                "number": number,
                "action": step.action,
                "begun": step.begun,
                "seconds": round(step.request.top_codes * step.model.hop_lengths[-1] / step.model.sampling_rate, 2),
                "candidates": len(step.request.songs),
                "picked": step.rows[0] if step.action == "pick" else None,
                "artist": song.artist,
                "genre": song.genre,
                "levels": step.request.levels,
                "kept": (run.folder / "earlier" / str(number) / REQUEST).is_file(),
            }
        )
    return steps
