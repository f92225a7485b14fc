"""Time to the first second of sound beside the time to the whole piece, and the first sound of a second start.

    python benchmarks/streaming.py --seconds 6           # the demo model, from the call on
    python benchmarks/streaming.py --compile-cache       # two starts that compile, the second with what the first kept

Times of a call are given as seconds of the clock and of the processor, since the latter do not depend on what else the
machine does. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import torch

from hf_jukebox import DEMO_MODEL, JukeboxPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="length of the piece")
    parser.add_argument("--compile-cache", action="store_true", help="measure two starts that compile")
    parser.add_argument("--one-start", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_start:
        result: dict[str, float] = one_start()
    elif arguments.compile_cache:
        result = two_starts()
    else:
        result = first_second(arguments.seconds)
    print(json.dumps({name: round(value, 2) for name, value in result.items()}))


def first_second(seconds: float) -> dict[str, float]:
    """Return when the first second of each level is there, and the whole piece."""
    torch.set_num_threads(1)
    pipe = demo()
    list(pipe.stream(audio_length_in_s=0.5, generator=0))  # what is done once, at the first call
    begun, cpu = time.perf_counter(), time.process_time()
    heard: dict[str, float] = {}
    for block in pipe.stream(audio_length_in_s=seconds, generator=0):
        name = f"level_{block.level}"
        if f"{name}_s" not in heard and block.start + len(block.samples) >= block.sampling_rate:
            heard[f"{name}_s"] = time.perf_counter() - begun
            heard[f"{name}_cpu_s"] = time.process_time() - cpu
    whole = {"whole_s": time.perf_counter() - begun, "whole_cpu_s": time.process_time() - cpu}
    return heard | whole | {"times_sooner": whole["whole_cpu_s"] / heard["level_2_cpu_s"]}


def two_starts() -> dict[str, float]:
    """Return the first sound of a start without anything compiled, and of the next one."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "HF_ASSETS_CACHE": folder}
        environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
        command = [sys.executable, __file__, "--one-start"]
        starts = [
            json.loads(
                subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.split(
                    "\n"
                )[-2]
            )
            for _ in range(2)
        ]
    first, second = starts
    ratio = {
        f"times_sooner{kind}": first[f"first_sound{kind}_s"] / second[f"first_sound{kind}_s"] for kind in ("", "_cpu")
    }
    return {
        f"{name}_{number}": value for number, start in enumerate(starts, 1) for name, value in start.items()
    } | ratio


def one_start() -> dict[str, float]:
    """Return the time from a loaded model to the first block of the top level, with compiled steps."""
    pipe = demo()
    begun = time.perf_counter()
    cpu = cpu_of_all()
    pipe.compile()
    next(iter(pipe.stream(audio_length_in_s=6, levels=2, generator=0)))
    return {"first_sound_s": time.perf_counter() - begun, "first_sound_cpu_s": cpu_of_all() - cpu}


def cpu_of_all() -> float:
    """Return the processor's seconds of this process and of the compilers that it has started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def demo() -> JukeboxPipeline:
    pipe = JukeboxPipeline.from_pretrained(DEMO_MODEL)
    pipe.set_progress_bar_config(disable=True)
    return pipe


if __name__ == "__main__":
    main()
