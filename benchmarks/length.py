"""Check that memory does not grow with the length: the longest piece may take 1.2 times that of the shortest.

    python benchmarks/length.py --seconds 30 180 [-- --upsampling parallel --max-batch-size 16]
    python benchmarks/length.py --seconds 10 30 --estimate 180

`hf-jukebox sample` samples all levels of each length in its own process, with the options after `--`; the OS
reports its peak memory at its end. `--estimate` prints the estimated time of another length, extrapolated from
the first and the last. With parallel upsampling set `--max-batch-size`: without it, a longer piece has more
segments per batch, as many as fit into memory.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measuring
import torch

ALLOWED = 1.2


def sample(seconds: float, folder: Path, options: list[str]) -> dict[str, Any]:
    """Sample one piece, and return its peak memory and time."""
    arguments = ["sample", "--seconds", str(seconds), "--output", str(folder), "--seed", "0", "--quiet", *options]
    command = [sys.executable, "-m", "hf_jukebox.cli", *arguments]
    started = time.perf_counter()
    _, status, usage = os.wait4(os.posix_spawn(command[0], command, os.environ), 0)
    if status != 0:
        raise SystemExit(f"hf-jukebox {' '.join(arguments)} failed.")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, which includes this process, the smaller one
    took = round(time.perf_counter() - started, 1)
    return {"seconds": seconds, "peak_mb": round(usage.ru_maxrss * unit / 1e6, 1), "took_s": took}


def minutes(rows: list[dict[str, Any]], seconds: float) -> float:
    """Estimate the minutes of another length from a constant start-up time and the time per second of music."""
    first, last = rows[0], rows[-1]
    per_second = last["took_s"] / last["seconds"]
    if len(rows) > 1:
        per_second = (last["took_s"] - first["took_s"]) / (last["seconds"] - first["seconds"])
    return round((last["took_s"] + (seconds - last["seconds"]) * per_second) / 60, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=[30, 180], help="the lengths, shortest first")
    parser.add_argument("--estimate", type=float, help="print the estimated time of this length")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("options", nargs="*", help="for hf-jukebox sample, after --")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for number, seconds in enumerate(options.seconds):
            if rows:
                print(f"{seconds:g} s of music will take about {minutes(rows, seconds):g} minutes.", flush=True)
            rows.append(sample(seconds, Path(name) / str(number), options.options))
    measuring.table(rows)
    result: dict[str, Any] = {"ratio": round(rows[-1]["peak_mb"] / rows[0]["peak_mb"], 3), "allowed": ALLOWED}
    if options.estimate is not None:
        result["minutes_of_estimate"] = minutes(rows, options.estimate)
    holds = result["ratio"] <= ALLOWED
    machine = measuring.machine(options.threads)
    measuring.finish(benchmark="length", **machine, options=options.options, rows=rows, **result, holds=holds)
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
