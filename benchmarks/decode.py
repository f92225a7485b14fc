"""Measure how many codes per second a prior samples, by precision and batch size, beside other implementations.

    python benchmarks/decode.py --peer PEER/bin/python

samples the same codes greedily from the same random weights with each of them in turn. By default the prior is an
upsampler of width 512, depth 24, n_ctx 2048 and 64 blocks; `--gpu` uses the published shapes on a CUDA GPU instead.
"""

import argparse
import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring
import torch
from measuring import median
from random_models import NARROW, SHAPE, halve_blocks, quantize_blocks, upsampler, weight_bytes

from hf_jukebox import JukeboxPrior, JukeboxPriorConfig
from hf_jukebox.layers.conditioning import LabelColumns
from hf_jukebox.sampling.batch import BatchSampler, BatchTask
from hf_jukebox.sampling.options import SamplingSettings
from hf_jukebox.sampling.single_prior import sample_codes
from hf_jukebox.sampling.step_runner import StepRunner

GREEDY = SamplingSettings(temperature=1, top_k=1)
GPU_PLAN = ("upsampler_level_0", "prior_1b_lyrics", "prior_5b_lyrics")


def peer_config(config: JukeboxPriorConfig) -> dict[str, Any]:
    return {
        "level": 1,
        "attention_pattern": "raw_column_previous_row_attention",
        "blocks": config.attention_blocks,
        "num_layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "n_ctx": config.n_ctx,
        "n_heads": config.num_attention_heads,
        "is_encoder_decoder": False,
        "nb_relevant_lyric_tokens": 0,
        "merged_decoder": False,
        "metadata_conditioning": False,
        "music_vocab_size": config.codebook_size,
        "mask": True,
        "conv_res_scale": config.conditioner_res_scale,
        "res_conv_depth": config.conditioner_depth,
        "res_conv_width": config.conditioner_width,
        "res_dilation_growth_rate": config.conditioner_dilation_growth_rate,
        "res_dilation_cycle": config.conditioner_dilation_cycle,
        "res_downs_t": [3, 2, 2],
        "res_strides_t": [2, 2, 2],
    }


def in_precision(prior: JukeboxPrior, precision: str) -> JukeboxPrior:
    """Copy a prior with the weights of its blocks in another precision."""
    if precision == "float32":
        return prior
    if precision == "int8":
        prior = copy.deepcopy(prior)
        quantize_blocks(prior)
        return prior
    with tempfile.TemporaryDirectory() as folder:
        prior.save_pretrained(folder)
        return JukeboxPrior.from_pretrained(folder, dtype=getattr(torch, precision)).eval()


class Sampling:
    """Greedy sampling of the codes of one window."""

    def __init__(self, prior: JukeboxPrior, inputs: dict[str, Any], length: int, steps: StepRunner) -> None:
        self.prior, self.inputs, self.length, self.steps = prior, inputs, length, steps
        self.codes = torch.empty(0)

    def __call__(self) -> torch.Tensor:
        self.codes = sample_codes(
            self.prior, self.length, hop=self.length, settings=GREEDY, steps=self.steps, **self.inputs
        )
        return self.codes


class PeerSampling:
    """The same in another implementation."""

    def __init__(self, peer: measuring.Other, batch: int, length: int) -> None:
        self.peer, self.batch, self.length = peer, batch, length
        self.codes = torch.empty(0)

    def __call__(self) -> float:
        answer = self.peer.request(task="decode", batch=self.batch, codes=self.length)
        self.codes = torch.tensor(answer["codes"])
        return float(answer["seconds"])


def bytes_of_step(prior: JukeboxPrior) -> int:
    """Return the bytes of weights that a step reads: those of the blocks and the output matrix."""
    return weight_bytes(prior.transformer) + weight_bytes(prior.head)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    shape = SHAPE | {"hidden_size": options.width, "num_hidden_layers": options.depth}
    prior = upsampler(**shape)
    machine = measuring.machine(options.threads)
    upper = torch.randint(prior.config.codebook_size, (max(options.batch), shape["n_ctx"] // 4))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "prior.pt"
        content = {"config": peer_config(prior.config), "state": measuring.peer_state(prior), "upper": upper}
        torch.save(content, weights)
        rivals = measuring.others(options, weights)
        priors = {precision: in_precision(prior, precision) for precision in options.precision}
        if options.lora:
            from hf_jukebox.training.lora import add_adapter

            for each in {prior, *priors.values()}:
                add_adapter(each, options.lora)
                each.eval()
        steps = StepRunner(compiled=True, sizes=(1,))  # what random weights make of guesses means nothing
        for batch in options.batch:
            inputs = {"batch_size": batch, "upper_codes": upper[:batch]}
            ours = {"float32 eager": Sampling(prior, inputs, options.codes, StepRunner())}
            ours |= {name: Sampling(each, inputs, options.codes, steps) for name, each in priors.items()}
            for sampling in ours.values():
                sampling()  # compile and warm up

            measures: dict[str, Callable[[], float]] = {
                name: (lambda sampling=sampling: measuring.seconds(sampling)) for name, sampling in ours.items()
            }
            peers = {name: PeerSampling(rival, batch, options.codes) for name, rival in rivals.items()}
            measures |= peers | {"memory": lambda: measuring.read_bandwidth("cpu")}
            taken = measuring.in_turn(options.rounds, measures)
            speeds = taken.pop("memory")
            reference = ours["float32 eager"].codes.tolist()
            for name, times in taken.items():
                rate = batch * options.codes / median(times)
                codes = (ours[name] if name in ours else peers[name]).codes.tolist()
                row = {"batch": batch, "what": name, "codes/s": round(rate), "same codes": codes == reference}
                for rival in rivals:
                    ratios = [theirs / own for theirs, own in zip(taken[rival], times, strict=True)]
                    row[f"times {rival}"] = round(median(ratios), 2)
                share = None
                if name in ours:
                    read = bytes_of_step(ours[name].prior) * options.codes / 1e9
                    share = round(median([read / own / speed for own, speed in zip(times, speeds, strict=True)]), 2)
                rows.append(row | {"share of read bandwidth": share})
    measuring.table(rows)
    return {"benchmark": "decode", **machine, "shape": shape, "codes": options.codes, "rows": rows}


def along_window(options: argparse.Namespace) -> dict[str, Any]:
    """Compare the cost of a step late in a window with that of an early one."""
    prior = upsampler(hidden_size=256, num_hidden_layers=6, n_ctx=8192, attention_blocks=128)
    upper = torch.randint(2048, (1, 2048))
    steps, times = StepRunner(compiled=True, sizes=(1,)), []
    task = BatchTask(torch.zeros(1, 8192, dtype=torch.long), [0], 8192, torch.zeros(1, 8192), GREEDY, upper)
    sampler = iter(BatchSampler(prior, task, steps=steps))
    for _ in range(8192):
        times.append(measuring.seconds(lambda: next(sampler)))
    early, late = median(times[500:1500]), median(times[7000:8000])
    return {
        "early_ms": round(early * 1e3, 3),
        "late_ms": round(late * 1e3, 3),
        "late_over_early": round(late / early, 3),
    }


def on_gpu(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the published shapes with random bfloat16 weights, compiled, one song at a time."""
    device = "cpu" if options.rehearse else "cuda"
    machine = measuring.machine(options.threads, device)
    rows = []
    for preset in GPU_PLAN:
        tiny = NARROW if options.rehearse else {}
        config = JukeboxPriorConfig.from_preset(preset, **tiny)
        torch.manual_seed(0)
        with torch.device(device):
            prior = JukeboxPrior(config).eval()
        halve_blocks(prior, torch.bfloat16)
        labels = torch.zeros(1, config.label_length, dtype=torch.long)
        labels[0, LabelColumns.timing] = torch.tensor([config.sampling_rate * 120, 0, config.window_length])
        inputs: dict[str, Any] = {"labels": labels.to(device)}
        if config.is_upsampler:
            inputs["upper_codes"] = torch.zeros(
                1, config.n_ctx // config.upsampling_ratio, dtype=torch.long, device=device
            )
        sampling = Sampling(prior, inputs, options.codes, StepRunner(compiled=True))
        sampling()
        taken = median([measuring.seconds(sampling, device) for _ in range(options.rounds)]) / options.codes
        share = bytes_of_step(prior) / machine["read_gb_s"] / 1e9 / taken
        rows.append({"prior": preset, "codes/s": round(1 / taken, 1), "share of read bandwidth": round(share, 2)})
        if options.profile:
            with torch.profiler.profile() as profile:
                sampling()
            print(profile.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=15))
        del sampling, prior
    measuring.table(rows)
    return {"benchmark": "decode --gpu", **machine, "rows": rows}


def main() -> None:
    parser = measuring.arguments(__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--codes", type=int, default=300, help="codes per song")
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16", "int8"])
    parser.add_argument("--width", type=int, default=SHAPE["hidden_size"])
    parser.add_argument("--depth", type=int, default=SHAPE["num_hidden_layers"])
    parser.add_argument(
        "--lora", type=int, metavar="RANK", help="with an adapter of this rank on all layers of the blocks"
    )
    parser.add_argument("--along-window", action="store_true", help="the cost of early and late steps, n_ctx 8192")
    parser.add_argument("--gpu", action="store_true", help="the published shapes on one CUDA GPU")
    parser.add_argument("--profile", action="store_true", help="with --gpu: time per kernel")
    parser.add_argument("--rehearse", action="store_true", help="with --gpu: small shapes on the CPU, to try it")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with torch.inference_mode():
        measure = on_gpu if options.gpu else along_window if options.along_window else compare
        result = measure(options)
    measuring.finish(**result)


if __name__ == "__main__":
    main()
