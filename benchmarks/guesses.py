"""Measure what it gains to guess several codes of a song per step (hf_jukebox/sampling/guesses.py).

    python benchmarks/guesses.py --seconds 6 --dtype float32 bfloat16

samples a piece with the demo model, sequentially and compiled, with steps of one code, of up to so many, and of as many
as the sampler chooses, in turn. The last line is JSON.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import measuring
import torch
from end_to_end import Clock
from measuring import median

from hf_jukebox import DEMO_MODEL, JukeboxPipeline
from hf_jukebox.sampling.step_runner import ReadyStep, StepRunner
from hf_jukebox.sampling.step_size import SIZES


class CountedSteps(StepRunner):
    """Steps that are counted, by level."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__(compiled=True, sizes=sizes)
        self.num_steps: Counter[int] = Counter()

    def get(self, prior: Any, *arguments: Any, **options: Any) -> ReadyStep:
        ready = super().get(prior, *arguments, **options)
        return ReadyStep(ready.state, ready.buffers, partial(self._run, prior.config.level, ready.run))

    def _run(self, level: int, run: Callable[[], int]) -> int:
        self.num_steps[level] += 1
        return run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of the piece")
    parser.add_argument("--temperature", type=float, default=0.99)
    parser.add_argument("--dtype", nargs="+", default=["float32"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which everything is measured in turn")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    for dtype in options.dtype:
        pipe = JukeboxPipeline.from_pretrained(options.model, dtype=dtype)
        pipe.set_progress_bar_config(disable=True)
        rows += measured(pipe, dtype, options)
    measuring.table(rows)
    machine = measuring.machine(options.threads)
    measuring.finish(benchmark="guesses", **machine, seconds=options.seconds, rows=rows)


def measured(pipe: JukeboxPipeline, dtype: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    cases = {f"up to {size}": CountedSteps((size,)) for size in SIZES} | {"chosen": CountedSteps(SIZES)}
    codes, rates = {}, {name: {level: list[float]() for level in range(len(pipe.priors))} for name in cases}
    for _ in range(options.rounds):
        for name, steps in cases.items():
            pipe._steps, clock = steps, Clock()
            steps.num_steps.clear()
            codes[name] = pipe(
                audio_length_in_s=options.seconds,
                generator=torch.Generator().manual_seed(0),
                temperature=options.temperature,
                output_type="latent",
                callback=clock,
            ).codes
            for level, found in rates[name].items():
                found.append(clock.rate(level))
    first, rows = f"up to {SIZES[0]}", []
    for name, steps in cases.items():
        row = {"codes a step": name, "precision": dtype}
        for level in reversed(range(len(pipe.priors))):
            ratios = [mine / theirs for mine, theirs in zip(rates[name][level], rates[first][level], strict=True)]
            right = codes[name][level].numel() / steps.num_steps[level]
            figures = f"{median(rates[name][level]):.0f} codes/s, {median(ratios):.2f} times, {right:.2f} right"
            row[f"level {level}"] = figures
        same = all(torch.equal(a, b) for a, b in zip(codes[name], codes[first], strict=True))
        rows.append(row | {"same codes": same})
    return rows


if __name__ == "__main__":
    main()
