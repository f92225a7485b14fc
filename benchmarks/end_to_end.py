"""Measure the speed of all levels together, and the quality of the seams of parallel upsampling.

    python benchmarks/end_to_end.py --seconds 20 [--model FOLDER] [--compile] [--quality]

samples a piece with the demo model sequentially and in parallel, from the same top-level codes and random numbers.
`--random` uses random weights instead: the upsampler of decode.py, under a small top prior, or all
three priors of a published model, as `--random 5b_lyrics --dtype bfloat16 --compile --device cuda`. `--int8` quantises
the priors.
`--quality` compares the finest codes near seams with those elsewhere: their teacher-forced bits, scored by the model
that sampled them, and the spectral flux of the audio.
"""

import argparse
import time
from typing import Any

import measuring
import torch
from random_models import PUBLISHED, quantize_blocks, random_pipeline

from hf_jukebox import DEMO_MODEL, JukeboxPipeline
from hf_jukebox.pipeline_jukebox import JukeboxPipelineOutput
from hf_jukebox.sampling.parallel import plan_segments
from hf_jukebox.sampling.single_prior import score_codes
from hf_jukebox.sampling.step_runner import StepRunner
from hf_jukebox.sampling.window_labels import WindowLabels

NEAR = 1 / 16  # of a window, after a seam
FRAME = 256  # samples, of the spectral flux


def load(options: argparse.Namespace) -> JukeboxPipeline:
    if options.random is None:
        pipe = JukeboxPipeline.from_pretrained(options.model, dtype=options.dtype).to(options.device)
    else:
        dtype, device = getattr(torch, options.dtype), torch.device(options.device)
        pipe = random_pipeline(options.random, dtype, device, options.narrow)
    if options.int8:
        for prior in pipe.priors:
            quantize_blocks(prior)
    return pipe


def sample(pipe: JukeboxPipeline, options: argparse.Namespace, top: torch.Tensor, **how: Any) -> JukeboxPipelineOutput:
    return pipe(
        codes=[*[None] * (len(pipe.priors) - 1), top],
        audio_length_in_s=options.seconds,
        levels=range(len(pipe.priors) - 1),
        generator=torch.Generator().manual_seed(0),
        temperature=options.temperature,
        output_type="pt",
        **how,
    )


class Clock:
    """Callback that measures the time per code of each level."""

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}
        self.codes: dict[int, int] = {}
        self._last: tuple[int, float, int] | None = None

    def __call__(self, progress: Any) -> None:
        now = time.perf_counter()
        level, sampled = progress.level, progress.level_sampled
        if self._last is not None and self._last[0] == level:
            self.seconds[level] = self.seconds.get(level, 0.0) + now - self._last[1]
            self.codes[level] = self.codes.get(level, 0) + sampled - self._last[2]
        self._last = (level, now, sampled)

    def rate(self, level: int) -> float:
        return self.codes[level] / self.seconds[level]


def seam_bits(pipe: JukeboxPipeline, codes: list[torch.Tensor], seams: list[int]) -> tuple[float, float]:
    """Return bits per code just after the seams and elsewhere, with each seam in the middle of a window."""
    prior = pipe.prior_0
    n_ctx, ratio = prior.config.n_ctx, prior.config.upsampling_ratio
    labels = WindowLabels(pipe.tokenizer, prior.config)(total_length=10**7) if prior.config.has_labels else None
    near, away = [], []
    for seam in seams:
        start = min(max(seam - n_ctx // 2, 0), codes[0].shape[1] - n_ctx) // ratio * ratio
        upper_codes = codes[1][:, start // ratio : (start + n_ctx) // ratio]
        bits = score_codes(prior, codes[0][:, start : start + n_ctx], upper_codes=upper_codes, labels=labels)[0]
        at, width = seam - start, int(NEAR * n_ctx)
        near.append(bits[at : at + width])
        away.append(torch.cat([bits[n_ctx // 4 : at - width], bits[at + 2 * width :]]))
    return float(torch.cat(near).mean()), float(torch.cat(away).mean())


def flux(audio: torch.Tensor, seams: list[int], hop: int) -> tuple[float, float]:
    """Return the mean spectral flux at the seams and elsewhere."""
    window = torch.hann_window(4 * FRAME)
    spectrum = torch.stft(audio, 4 * FRAME, FRAME, window=window, return_complex=True).abs().log1p()
    rise = spectrum.diff(dim=1).clamp_min(0).sum(0)
    at = torch.zeros(len(rise), dtype=torch.bool)
    for seam in seams:
        frame = seam * hop // FRAME
        at[max(frame - 2, 0) : frame + 3] = True
    return float(rise[at].mean()), float(rise[~at].mean())


def quality(pipe: JukeboxPipeline, outputs: dict[str, JukeboxPipelineOutput]) -> list[dict[str, Any]]:
    prior, rows = pipe.prior_0, []
    total = outputs["parallel"].codes[0].shape[1]
    segments = plan_segments(total, prior.config.n_ctx, prior.config.upsampling_ratio, [0])
    seams = [segment.window.start + segment.window.context for segment in segments[1:]]
    for how, out in outputs.items():
        near, away = seam_bits(pipe, out.codes, seams)
        at, elsewhere = flux(out.audios[0], seams, prior.config.hop_length)
        figures = {"bits near seams": round(near, 3), "bits elsewhere": round(away, 3), "seams": len(seams)}
        rows.append({"upsampling": how} | figures | {"flux at seams / elsewhere": round(at / elsewhere, 3)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--random", choices=["upsampler", *PUBLISHED], help="random weights of this shape")
    parser.add_argument("--narrow", action="store_true", help="with --random: a published model made small, to try it")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--temperature", type=float, default=0.99)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--quality", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pipe = load(options)
    pipe.set_progress_bar_config(disable=True)
    if options.compile:
        pipe.compile()
        if options.random is not None:  # what random weights make of guesses means nothing
            pipe._steps = StepRunner(compiled=True, sizes=(1,))
    started = time.perf_counter()
    top = pipe(
        audio_length_in_s=options.seconds,
        levels=len(pipe.priors) - 1,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    ).codes[-1]
    top_seconds = time.perf_counter() - started
    rows, outputs = [], {}
    for how in ("sequential", "parallel"):
        clock = Clock()
        outputs[how] = sample(pipe, options, top, upsampling=how, callback=clock)
        whole = top_seconds + sum(clock.seconds.values())
        rates = {f"codes/s, level {level}": round(clock.rate(level)) for level in sorted(clock.codes)}
        rows.append({"upsampling": how} | rates | {"music / time": round(options.seconds / whole, 3)})
    measuring.table(rows)
    held = quality(pipe, outputs) if options.quality else []
    if held:
        measuring.table(held)
    machine = measuring.machine(options.threads, torch.device(options.device).type)
    settings = {name: getattr(options, name) for name in ("random", "seconds", "dtype", "int8", "compile")}
    measuring.finish(benchmark="end_to_end", **machine, **settings, rows=rows, quality=held)


if __name__ == "__main__":
    main()
