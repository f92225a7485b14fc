"""Fuzz the doors for a time: `python tests/fuzz/run.py --seconds 3600 [DOOR ...]`.

Each door is entered in turn with new random contents. A failure does not end the run: it is shrunk and saved with its
traceback in the folder --findings. The last line printed is JSON: executions, minutes, failures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.doors import DOORS, check
from helpers.peak import limit_memory
from hypothesis import HealthCheck, Phase, given, seed, settings

EXAMPLES = 150  # per door and turn
MOST_SECONDS = 10.0  # CPU time per example


class Slow(AssertionError):
    """Error of an example that takes too long."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("doors", nargs="*", help="names of doors; all by default")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    arguments = parser.parse_args()
    # A trainer keeps freed memory unless the environment says otherwise, and no address space would be left.
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**17))  # the default of glibc
    doors = arguments.doors or list(DOORS)
    counts = dict.fromkeys(doors, 0)
    failures: dict[str, str] = {}
    start, cpu = time.monotonic(), time.process_time()
    for name in doors:
        DOORS[name].contents()  # make the valid files before memory is limited
    limit_memory()
    while time.monotonic() - start < arguments.seconds:
        for name in doors:
            failure = fuzz(name, counts)
            if failure is not None:
                signature, text, content = failure
                if signature not in failures:
                    failures[signature] = name
                    arguments.findings.mkdir(parents=True, exist_ok=True)
                    path = arguments.findings / f"{len(failures):03d}"
                    path.with_suffix(".txt").write_text(f"door: {name}\n{text}", errors="replace")
                    path.with_suffix(".bin").write_bytes(content)
                    print(f"{name}: {signature}", flush=True)
            if time.monotonic() - start >= arguments.seconds:
                break
    minutes = (time.monotonic() - start) / 60
    figures = {
        "executions": sum(counts.values()),
        "minutes": round(minutes, 1),
        "cpu_minutes": round((time.process_time() - cpu) / 60, 1),
        "per_minute": round(sum(counts.values()) / minutes),
        "doors": counts,
        "failures": failures,
    }
    print(json.dumps(figures))
    return int(bool(failures))


def fuzz(name: str, counts: dict[str, int]) -> tuple[str, str, bytes] | None:
    """Enter a door repeatedly, and return a failure as its signature, traceback and content, or None."""
    door, last = DOORS[name], b""

    @seed(random.getrandbits(64))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(door.contents())
    def enter(content: bytes) -> None:
        nonlocal last
        last = content
        counts[name] += 1
        started = time.process_time()
        with tempfile.TemporaryDirectory(prefix="jukebox_fuzz_") as folder:
            check(door, content, Path(folder))
        if time.process_time() - started > MOST_SECONDS:
            raise Slow(f"{time.process_time() - started:.0f} s")

    try:
        enter()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if "hf_jukebox" in frame.filename]
        position = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
        return f"{type(error).__name__} at {position}: {str(error)[:150]!r}", traceback.format_exc()[-6000:], last
    return None


if __name__ == "__main__":
    sys.exit(main())
