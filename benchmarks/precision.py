"""What does a lower precision of the weights cost in bits per code?

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
from hf_jukebox.audio.io import read_audio

PROMPT = Path(__file__).parents[1] / "examples" / "prompt.wav"
HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def quantizers() -> dict[str, Callable[[torch.nn.Module], None]]:
    """Weight-only quantisation by torchao; int4 is packed for the device it runs on."""
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup, quantize_

    int4 = IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32))
    return {
        "int8": lambda module: quantize_(module, Int8WeightOnlyConfig()),
        "int4, groups of 32": lambda module: quantize_(module, int4),
    }


@torch.no_grad()
def bits_per_code(pipe: JukeboxPipeline, prior: JukeboxPrior, codes: list[torch.Tensor]) -> float:
    """Of whole windows, one after the other."""
    config, level = prior.config, prior.config.level
    of_level, ratio, bits, count = codes[level], config.upsampling_ratio, 0.0, 0
    for start in range(0, of_level.shape[1], config.n_ctx):
        window = of_level[:, start : start + config.n_ctx]
        inputs: dict[str, Any] = {}
        if config.is_upsampler:
            inputs["upper_codes"] = codes[level + 1][:, start // ratio : -(-(start + window.shape[1]) // ratio)]
        if config.has_labels:
            total = int(max(config.min_duration * config.sampling_rate, of_level.shape[1] * config.hop_length))
            rows = pipe.tokenizer(
                level=level,
                total_length=total + 1,
                offset=start * config.hop_length,
                window_length=config.window_length,
                allow_beyond=True,  # the last window may be a part of one
            )
            inputs["labels"] = rows["labels"].to(window.device)
        loss = prior(window, **inputs).code_loss
        bits, count = bits + float(loss) * window.shape[1], count + window.shape[1]
    return bits / count


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
