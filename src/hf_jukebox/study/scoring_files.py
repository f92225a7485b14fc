"""Scores of a recording as files: a summary, the numbers of every code, and a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files.atomic import replacing
from .plots import check_can_plot
from .scoring import JukeboxScore, LabelPosterior


def summary(score: JukeboxScore, posteriors: Sequence[LabelPosterior] = (), seconds: float = 1.0) -> dict[str, Any]:
    """Return the figures of a recording as JSON: bits per code of each level as a whole and per stretch of `seconds`,
    and the posteriors of its labels.
    """
    levels = {
        str(level): {
            "bits_per_code": each.bits_per_code,
            "bits_per_second": each.total_bits / score.duration,
            "codes": len(each.bits),
            "median_rank": float(np.median(each.ranks)),
            "expected_bits_per_code": float(each.entropy.mean(dtype=np.float64)),
            "curve": [round(value, 4) for value in each.curve(seconds).tolist()],
        }
        for level, each in score.levels.items()
    }
    labels = {
        each.kind: {
            "best": each.best,
            "posterior": dict(zip(each.labels, each.whole.tolist(), strict=True)),
            "bits_per_code": dict(zip(each.labels, each.bits.mean(1, dtype=np.float64).tolist(), strict=True)),
            "curve": [dict(zip(each.labels, row.round(6).tolist(), strict=True)) for row in each.over_time(seconds)],
        }
        for each in posteriors
    }
    return {
        "recording": score.name,
        "seconds": score.duration,
        "seconds_per_step": seconds,
        "levels": levels,
        **({"labels": labels} if labels else {}),
    }


def save_score(
    folder: Path,
    stem: str,
    score: JukeboxScore,
    posteriors: Sequence[LabelPosterior] = (),
    seconds: float = 1.0,
    plot: bool = False,
) -> list[Path]:
    """Write `STEM.json`, the summary; `STEM.npz`, bits, ranks and entropy of every code; and with `plot` `STEM.png`.

    Raises:
        OSError: a file cannot be written, or matplotlib is missing.
    """
    paths = [folder / f"{stem}.json", folder / f"{stem}.npz"]
    with replacing(paths[0]) as unfinished:
        unfinished.write_text(json.dumps(summary(score, posteriors, seconds), indent=1) + "\n", "utf-8", "replace")
    arrays: dict[str, np.ndarray] = {}
    for level, each in score.levels.items():
        arrays |= {f"bits_{level}": each.bits, f"ranks_{level}": each.ranks, f"entropy_{level}": each.entropy}
    for posterior in posteriors:
        arrays |= {f"{posterior.kind}_bits": posterior.bits, f"{posterior.kind}_labels": np.array(posterior.labels)}
    with replacing(paths[1]) as unfinished, unfinished.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    if plot:
        paths.append(folder / f"{stem}.png")
        figure = plot_score(score, posteriors, seconds)
        with replacing(paths[2]) as unfinished:
            figure.savefig(unfinished, format="png", dpi=150)
    return paths


def plot_score(score: JukeboxScore, posteriors: Sequence[LabelPosterior] = (), seconds: float = 1.0) -> Any:
    """Return a `matplotlib.figure.Figure`: bits per code of each level over time, and below them the posteriors.

    Raises:
        OSError: matplotlib is missing.
    """
    check_can_plot()
    from matplotlib.figure import Figure

    rows = len(score.levels) + len(posteriors)
    figure = Figure(figsize=(9, 1 + 1.6 * rows), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for axis, (level, each) in zip(axes, sorted(score.levels.items(), reverse=True), strict=False):
        curve = each.curve(seconds)
        edges = np.minimum(np.arange(len(curve) + 1) * seconds, score.duration)
        axis.stairs(curve, edges, baseline=None, color="#aa2657", linewidth=1.5)
        axis.axhline(each.bits_per_code, color="#c3b3bd", linewidth=1)
        axis.set_ylabel(f"level {level}\nbits per code")
        axis.set_ylim(bottom=0)
    for axis, posterior in zip(axes[len(score.levels) :], posteriors, strict=True):
        values = posterior.over_time(seconds)
        edges = np.minimum(np.arange(len(values) + 1) * seconds, score.duration)
        below = np.zeros(len(values))
        for label, share in zip(posterior.labels, values.T, strict=True):
            axis.stairs(below + share, edges, baseline=below, fill=True, label=label)
            below = below + share
        axis.set_ylabel(f"posterior of\nthe {posterior.kind}")
        axis.set_ylim(0, 1)
        if len(posterior.labels) <= 12:
            axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize="small")
    axes[0].set_title(score.name, loc="left", parse_math=False)
    axes[-1].set_xlabel("seconds")
    axes[-1].set_xlim(0, score.duration)
    return figure
