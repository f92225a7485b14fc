"""Measure the cost of low-precision weights in bits per code.

    python benchmarks/precision.py [--model FOLDER] [--audio FILE] [--device cuda]

scores the codes of a recording, by default of the shipped prompt, with each prior of a pipeline in each precision.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring
import torch

from hf_jukebox import DEMO_MODEL, JukeboxPipeline, JukeboxPrior
from hf_jukebox.audio import read_audio
from hf_jukebox.sampling.single_prior import score_codes
from hf_jukebox.sampling.window_labels import WindowLabels

PROMPT = Path(__file__).parents[1] / "examples" / "prompt.wav"
HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def quantizers() -> dict[str, Callable[[torch.nn.Module], None]]:
    """Return the weight-only quantisations of torchao; int4 is packed for the device it runs on."""
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup, quantize_

    int4 = IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32))
    return {
        "int8": lambda module: quantize_(module, Int8WeightOnlyConfig()),
        "int4, groups of 32": lambda module: quantize_(module, int4),
    }


def bits_per_code(pipe: JukeboxPipeline, prior: JukeboxPrior, codes: list[torch.Tensor]) -> float:
    """Return the mean over windows one after the other; the last one ends with the piece."""
    config, labels = prior.config, None
    level_codes = codes[config.level]
    upper_codes = codes[config.level + 1] if config.is_upsampler else None
    if config.has_labels:
        window_labels = WindowLabels(pipe.tokenizer, config)
        total = int(max(config.min_duration * config.sampling_rate, level_codes.shape[1] * config.hop_length)) + 1

        def labels(start: int) -> torch.Tensor:
            return window_labels(total_length=total, offset=start * config.hop_length)

    return score_codes(prior, level_codes, upper_codes=upper_codes, labels=labels).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--audio", type=Path, default=PROMPT)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    for precision in ("float32", *HALF, *quantizers()):
        dtype = HALF.get(precision, torch.float32)
        pipe = JukeboxPipeline.from_pretrained(options.model, dtype=dtype).to(options.device)
        audio = torch.from_numpy(read_audio(options.audio, pipe.sampling_rate))[None].to(options.device)
        codes = pipe.vqvae.encode(audio[:, : audio.shape[1] // 128 * 128])
        row: dict[str, Any] = {"precision": precision}
        for prior in pipe.priors:
            if precision in quantizers():
                quantizers()[precision](prior.transformer)
            bits = bits_per_code(pipe, prior, codes)
            row[f"level {prior.config.level}"] = round(bits, 4)
            plain = rows.get("float32", row)[f"level {prior.config.level}"]
            row[f"change {prior.config.level}"] = f"{(bits / plain - 1) * 100:+.2f} %"
        rows[precision] = row
    measuring.table(list(rows.values()))
    device = torch.device(options.device).type
    measuring.finish(benchmark="precision", device=device, model=Path(options.model).name, rows=list(rows.values()))


if __name__ == "__main__":
    main()
