"""Build a synthetic catalogue of codes and use it: size on disk, memory, time to build, time per code.

    python benchmarks/catalogue.py --hours 1000 [--folder DIR]

The codes have the shape of the released top level (44,100 / 128 per second, 2048 codes): songs of 240 s in which each
code is one of 40 successors of the code before it, so that stretches are about as predictable as music, and one second
in 240 is silence, one code held. Building and use run in processes of their own, whose memory is measured: what they
allocate, and everything that is resident, mapped pages of the catalogue included.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hf_jukebox.catalogue.folder import Catalogue, CatalogueSong, CodeFormat, open_songs, write_catalogue
from hf_jukebox.catalogue.following import CodeFollower
from hf_jukebox.catalogue.search import longest_agreements

RATE, HOP, SIZE, LEVEL = 44100, 128, 2048, 2
SECONDS, SUCCESSORS = 240, 40
ALLOWED = {"disk_gb": 3.0, "build_mb": 500, "use_mb": 500}


def song(number: int) -> np.ndarray:
    """Return the codes of a song."""
    random = np.random.default_rng(number)
    length = SECONDS * RATE // HOP
    # The successor of a code is a hash of it and of a small random number.
    steps = random.integers(0, SUCCESSORS, length)
    codes = np.cumsum(steps * 53 + 7) % SIZE
    start = random.integers(0, length - RATE // HOP)
    codes[start : start + RATE // HOP] = 11
    return codes.astype(np.uint16)


def status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1000, 1)


def build(folder: Path, hours: float) -> dict[str, Any]:
    """Build the catalogue, and return its size, the memory and the time."""
    songs = [CatalogueSong(f"{n:05d}.wav", SECONDS * RATE // HOP) for n in range(round(hours * 3600 / SECONDS))]
    before, started = status("VmHWM"), time.perf_counter()
    making = [0.0]

    def read(number: int, level: int) -> np.ndarray:
        since = time.perf_counter()
        codes = song(number)
        making[0] += time.perf_counter() - since
        return codes

    write_catalogue(folder, CodeFormat("synthetic", RATE, [8, 32, HOP], SIZE), [LEVEL], songs, read)
    took = time.perf_counter() - started - making[0]
    size = sum(path.stat().st_size for path in folder.iterdir())
    codes = sum(each.top_codes for each in songs)
    memory = {"build_mb": status("VmHWM"), "build_start_mb": before}
    return {"codes": codes, "disk_gb": round(size / 1e9, 3), "build_s": round(took, 1), **memory}


def use(folder: Path, num_codes: int) -> dict[str, Any]:
    """Follow songs through the catalogue, code by code, and check a piece of 20 s."""
    started = time.perf_counter()
    catalogue = open_songs(folder)
    catalogue.index(LEVEL)
    result: dict[str, Any] = {"open_s": round(time.perf_counter() - started, 3)}
    random = np.random.default_rng(-1 % 2**32)
    total = len(catalogue.songs)
    for name, rows, steps in rows_to_follow(catalogue, random, num_codes):
        follower = CodeFollower(catalogue.index(LEVEL), 689, rows.shape[0])
        started, slowest = time.perf_counter(), 0.0
        for step in range(steps):
            since = time.perf_counter()
            follower.too_long()
            follower.observe(rows[:, step])
            slowest = max(slowest, time.perf_counter() - since)
        per_code = (time.perf_counter() - started) / steps
        result[f"{name}_us_per_code"] = round(per_code * 1e6, 1)
        result[f"{name}_slowest_us"] = round(slowest * 1e6, 1)
    piece = song(total + 1)[: 20 * RATE // HOP].copy()
    piece[1000:1500] = catalogue.codes(total // 2, LEVEL)[2000:2500]
    started = time.perf_counter()
    (found,) = longest_agreements(catalogue, LEVEL, piece, [0.0])
    result["check_20_s_in_s"] = round(time.perf_counter() - started, 2)
    result["planted_found"] = found is not None and found.song == total // 2 and found.length >= 500
    return result | {"use_mb": status("VmHWM"), "use_allocated_mb": status("RssAnon")}


def rows_to_follow(
    catalogue: Catalogue, random: np.random.Generator, steps: int
) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield rows of codes to follow: of new songs, of songs in the catalogue, and of silence."""
    total = len(catalogue.songs)
    yield "new", song(total + 1)[None, :steps], steps
    yield "copied", catalogue.codes(int(random.integers(total)), LEVEL)[None, :steps], steps
    yield "batch_of_16_new", np.stack([song(total + 2 + n)[:steps] for n in range(16)]), steps
    yield "silent", np.full((1, 345), 11, np.uint16), 345


def measured(work: Any, *arguments: Any) -> dict[str, Any]:
    """Run a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hours", type=float, default=1000)
    parser.add_argument("--codes", type=int, default=20000, help="codes to follow")
    parser.add_argument("--folder", type=Path, help="folder to keep the catalogue in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name) / "catalogue"
        result = measured(build, folder, options.hours) | measured(use, folder, options.codes)
    import measuring  # imports torch, which would count as memory of the processes above

    measuring.table([result])
    holds = all(result[name] <= most for name, most in ALLOWED.items()) and result["planted_found"]
    print(json.dumps({"benchmark": "catalogue", "hours": options.hours, **result, "allowed": ALLOWED, "holds": holds}))
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
