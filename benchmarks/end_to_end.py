"""How much music a second, all levels together? And what do the seams of parallel upsampling cost?

    python benchmarks/end_to_end.py --seconds 20 [--model FOLDER] [--compile] [--quality]

draws a piece with the demo model sequentially and in parallel, from the same top-level codes and random numbers.
`--random` takes the upsampler of decode.py with random weights instead, under a small top prior.
`--quality` looks at the finest codes near seams and away from them: their teacher-forced bits, by the model that
drew them, and the spectral flux of the audio.
"""

import argparse
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import measuring
import torch
import torch.nn.functional as F
from decode import SHAPE, upsampler

from hf_jukebox import (
    DEMO_MODEL,
    JukeboxPipeline,
    JukeboxPrior,
    JukeboxPriorConfig,
    JukeboxVQVAE,
    JukeboxVQVAEConfig,
)
from hf_jukebox.pipeline_jukebox import JukeboxPipelineOutput
from hf_jukebox.sampling.parallel import plan_segments

SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "n_ctx": 1024, "attention_blocks": 32}  # a top prior
NEAR = 1 / 16  # of a window, after a seam
FRAME = 256  # samples, of the spectral flux


def write_random(folder: Path) -> Path:
    """A pipeline of two levels whose upsampler has the shape that decode.py measures."""
    vqvae = JukeboxVQVAE(JukeboxVQVAEConfig.from_preset("5b", downs_t=[3, 2], strides_t=[2, 2], multipliers=[2, 1]))
    finest, coarser = vqvae.config.hop_lengths
    place = {"sampling_rate": vqvae.config.sampling_rate, "codebook_size": vqvae.config.codebook_size}
    top = JukeboxPriorConfig.from_preset("small_prior", level=1, hop_length=coarser, **place, **SMALL)
    JukeboxPipeline(
        vqvae, None, upsampler(**SHAPE, level=0, hop_length=finest, **place), JukeboxPrior(top)
    ).save_pretrained(folder)
    return folder


def draw(pipe: JukeboxPipeline, options: argparse.Namespace, top: torch.Tensor, **how: Any) -> JukeboxPipelineOutput:
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
    """Takes the time from code to code of each level, as a callback."""

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}
        self.codes: dict[int, int] = {}
        self._last: tuple[int, float, int] | None = None

    def __call__(self, progress: Any) -> None:
        now = time.perf_counter()
        level, drawn = progress.level, progress.level_drawn
        if self._last is not None and self._last[0] == level:
            self.seconds[level] = self.seconds.get(level, 0.0) + now - self._last[1]
            self.codes[level] = self.codes.get(level, 0) + drawn - self._last[2]
        self._last = (level, now, drawn)

    def rate(self, level: int) -> float:
        return self.codes[level] / self.seconds[level]


@torch.no_grad()
def bits_of_codes(pipe: JukeboxPipeline, codes: list[torch.Tensor], seams: list[int]) -> tuple[float, float]:
    """Bits per code just after the seams and elsewhere, each seam in the middle of a window."""
    prior = pipe.prior_0
    n_ctx, ratio = prior.config.n_ctx, prior.config.upsampling_ratio
    near, away = [], []
    for seam in seams:
        start = min(max(seam - n_ctx // 2, 0), codes[0].shape[1] - n_ctx) // ratio * ratio
        inputs: dict[str, Any] = {"upper_codes": codes[1][:, start // ratio : (start + n_ctx) // ratio]}
        if prior.config.has_labels:
            rows = pipe.tokenizer(level=0, total_length=10**7, offset=0, window_length=prior.config.window_length)
            inputs["labels"] = rows["labels"]
        window = codes[0][:, start : start + n_ctx]
        bits = F.cross_entropy(prior(window, **inputs).logits[0], window[0], reduction="none") / math.log(2)
        at, width = seam - start, int(NEAR * n_ctx)
        near.append(bits[at : at + width])
        away.append(torch.cat([bits[n_ctx // 4 : at - width], bits[at + 2 * width :]]))
    return float(torch.cat(near).mean()), float(torch.cat(away).mean())


def flux(audio: torch.Tensor, seams: list[int], hop: int) -> tuple[float, float]:
    """Mean spectral flux at the seams and elsewhere."""
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
    seams = [segment.window.start + segment.window.known for segment in segments[1:]]
    for how, out in outputs.items():
        near, away = bits_of_codes(pipe, out.codes, seams)
        at, elsewhere = flux(out.audios[0], seams, prior.config.hop_length)
        figures = {"bits near seams": round(near, 3), "bits elsewhere": round(away, 3), "seams": len(seams)}
        rows.append({"upsampling": how} | figures | {"flux at seams / elsewhere": round(at / elsewhere, 3)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--random", action="store_true", help="the shape of decode.py, with random weights")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--temperature", type=float, default=0.99)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--quality", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        model = write_random(Path(name)) if options.random else options.model
        pipe = JukeboxPipeline.from_pretrained(model, dtype=options.dtype).to(options.device)
    pipe.set_progress_bar_config(disable=True)
    if options.compile:
        pipe.compile()
    started = time.perf_counter()
    top = pipe(
        audio_length_in_s=options.seconds,
        levels=len(pipe.priors) - 1,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    ).codes[-1]
    of_top = time.perf_counter() - started
    rows, outputs = [], {}
    for how in ("sequential", "parallel"):
        clock = Clock()
        outputs[how] = draw(pipe, options, top, upsampling=how, callback=clock)
        whole = of_top + sum(clock.seconds.values())
        rates = {f"codes/s, level {level}": round(clock.rate(level)) for level in sorted(clock.codes)}
        rows.append({"upsampling": how} | rates | {"music / time": round(options.seconds / whole, 3)})
    measuring.table(rows)
    held = quality(pipe, outputs) if options.quality else []
    if held:
        measuring.table(held)
    machine = measuring.machine(options.threads, torch.device(options.device).type)
    settings = {
        "random": options.random,
        "seconds": options.seconds,
        "dtype": options.dtype,
        "compiled": options.compile,
    }
    measuring.finish(benchmark="end_to_end", **machine, **settings, rows=rows, quality=held)


if __name__ == "__main__":
    main()
