"""The result of an evaluation as JSON, as Markdown for a model card, and as plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files.atomic import replacing
from .plots import check_can_plot

JSON, MARKDOWN = "evaluation.json", "evaluation.md"
_COLUMNS = {
    "level": "level",
    "spectral_convergence_db": "spectral convergence, dB",
    "multi_resolution_stft": "multi-resolution STFT",
    "si_sdr_db": "SI-SDR, dB",
    "mel_distance": "mel distance",
    "bits_per_code": "bits per code",
    "unigram_entropy": "unigram entropy",
    "bits_per_second": "bits per second",
}


def write_report(folder: Path, result: dict[str, Any], title: str, plots: bool = True) -> list[Path]:
    """Write evaluation.json, evaluation.md and, with `plots`, a picture per part; return their paths.

    Raises:
        OSError: a file cannot be written, or matplotlib is missing.
    """
    paths = [folder / JSON, folder / MARKDOWN]
    pictures = _plot(folder, result) if plots else []
    for path, text in zip(paths, (json.dumps(result, indent=2), as_markdown(result, title, pictures)), strict=True):
        with replacing(path) as unfinished:
            unfinished.write_text(text + "\n", encoding="utf-8")
    return paths + pictures


def as_markdown(result: dict[str, Any], title: str, pictures: Sequence[Path] = ()) -> str:
    """Return the result as a section of a model card."""
    parts = [
        f"## Evaluation of {title}",
        f"{result['excerpts']} excerpts of {result['seconds_per_excerpt']:g} s, with hf_jukebox.",
    ]
    if "reconstruction" in result:
        parts += ["### Reconstruction", _table(result["reconstruction"])]
    parts += ["### Likelihood", _table(result["bits_per_code"])]
    if "labels" in result:
        rows = [{"label": axis, **values} for axis, values in result["labels"].items()]
        parts += ["### Labels by likelihood", _table(rows)]
    if found := result.get("continuations"):
        rows = [{"second half": kind, **found[kind]} for kind in ("sampled", "real")]
        parts += ["### Continuations", f"{found['pieces']} pieces, {found['seconds']:g} s continued.", _table(rows)]
        distances = {"sampled to real": "distance", "real to real": "floor"}
        rows = [{"embeddings": name, **found[key]} for name, key in distances.items() if key in found]
        parts += [_table(rows)] if rows else []
    if seams := result.get("seams"):
        rows = [
            {"upsampling": kind, "flux at seams / elsewhere": v} for kind, v in seams["flux_over_elsewhere"].items()
        ]
        parts += ["### Seams of parallel upsampling", _table(rows)]
    parts += [f"![{picture.stem}]({picture.name})" for picture in pictures]
    return "\n\n".join(parts)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    names = [name for name, value in rows[0].items() if not isinstance(value, list) and name != "windows"]
    lines = ["| " + " | ".join(_COLUMNS.get(name, name.replace("_", " ")) for name in names) + " |"]
    lines.append("|" + " --- |" * len(names))
    for row in rows:
        lines.append("| " + " | ".join("–" if row[name] is None else f"{row[name]}" for name in names) + " |")
    return "\n".join(lines)


def _plot(folder: Path, result: dict[str, Any]) -> list[Path]:
    """Draw bits per code by place in the window, and the reconstruction by level."""
    check_can_plot()
    from matplotlib.figure import Figure  # without pyplot, which would look for a display

    pictures = []
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for row in result["bits_per_code"]:
        places = [(number + 0.5) / len(row["by_place"]) for number in range(len(row["by_place"]))]
        (line,) = axes.plot(places, row["by_place"], marker="o", markersize=3, label=f"level {row['level']}")
        axes.axhline(row["unigram_entropy"], linestyle=":", color=line.get_color(), linewidth=1)
    axes.set_xlabel("place in the window")
    axes.set_ylabel("bits per code (dotted: unigram entropy)")
    axes.set_ylim(bottom=0)
    axes.legend()
    pictures.append(_save(figure, folder / "bits_per_code.png"))
    if "reconstruction" in result:
        rows = result["reconstruction"]
        names = [name for name in rows[0] if name != "level"]
        figure = Figure(figsize=(9, 2.6), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
            axes.bar([str(row["level"]) for row in rows], [row[name] for row in rows])
            axes.set_title(_COLUMNS[name], fontsize=9)
            axes.set_xlabel("level")
        pictures.append(_save(figure, folder / "reconstruction.png"))
    return pictures


def _save(figure: Any, path: Path) -> Path:
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=120, format="png")
    return path
