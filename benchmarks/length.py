"""Does a longer piece need more memory? Fails when the longest takes over 1.2 times what the shortest takes.

    python benchmarks/length.py --seconds 30 180 [-- --upsampling parallel --max-batch-size 16]
    python benchmarks/length.py --seconds 10 30 --estimate 180

Each length is drawn in full, all levels of it, by `hf-jukebox sample` in a process of its own, with the options after
`--`; its peak is what the system says of the process when it has ended. `--estimate` prints how long another length
would take, by what the seconds between the first and the last have taken. In parallel a limit belongs to it: without
one as many segments are drawn at a time as fit into memory, and a longer piece has more of them.
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


def draw(seconds: float, folder: Path, options: list[str]) -> dict[str, Any]:
    """Peak memory and time of drawing one piece."""
    sample = ["sample", "--seconds", str(seconds), "--output", str(folder), "--seed", "0", "--quiet", *options]
    command = [sys.executable, "-m", "hf_jukebox.cli", *sample]
    started = time.perf_counter()
    _, status, usage = os.wait4(os.posix_spawn(command[0], command, os.environ), 0)
    if status != 0:
        raise SystemExit(f"hf-jukebox {' '.join(sample)} failed.")
    unit = 1 if sys.platform == "darwin" else 1024  # of the system; it counts what this process has, too, which is less
    took = round(time.perf_counter() - started, 1)
    return {"seconds": seconds, "peak_mb": round(usage.ru_maxrss * unit / 1e6, 1), "took_s": took}


def minutes(rows: list[dict[str, Any]], seconds: float) -> float:
    """How long another length would take: what starting takes, which is in the difference of two, and the codes."""
    first, last = rows[0], rows[-1]
    per_second = last["took_s"] / last["seconds"]
    if len(rows) > 1:
        per_second = (last["took_s"] - first["took_s"]) / (last["seconds"] - first["seconds"])
    return round((last["took_s"] + (seconds - last["seconds"]) * per_second) / 60, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=[30, 180], help="the lengths, shortest first")
    parser.add_argument("--estimate", type=float, help="how long would this length take?")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("options", nargs="*", help="for hf-jukebox sample, after --")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for number, seconds in enumerate(options.seconds):
            if rows:
                print(f"{seconds:g} s of music will take about {minutes(rows, seconds):g} minutes.", flush=True)
            rows.append(draw(seconds, Path(name) / str(number), options.options))
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
