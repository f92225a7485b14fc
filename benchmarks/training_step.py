"""Measure time and memory of a training step: our loop, a plain one, and transformers 4.57.6.

    python benchmarks/training_step.py --peer PEER/bin/python

takes optimisation steps, forward, backward and AdamW, from the same weights on the same batch, in turn: in float32, or
with `--precision bf16` in bfloat16 by autocast; `--precision no bf16` measures both. The prior is the published small
one with labels and lyrics in one sequence with the codes, at width 512 and depth 16; its windows have the published
6144 codes and 384 characters, or `--codes` and `--characters`. `Trainer` is the loop of the training scripts, including
gradient clipping and EMA. Each loop has its own process. Their first losses must agree, which shows that they compute
the same.
"""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring
import torch
from measuring import median
from serving import answering_steps, plain_step, serve

from hf_jukebox import JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig
from hf_jukebox.layers.conditioning import LabelColumns
from hf_jukebox.presets import PRIOR_PRESETS
from hf_jukebox.training.accelerator import make_accelerator
from hf_jukebox.training.arguments import LoopArguments
from hf_jukebox.training.data import TrainingData
from hf_jukebox.training.loop import Trainer
from hf_jukebox.training.train_prior import PriorTask

PRESET = "small_single_enc_dec_prior"
SHAPE = {"hidden_size": 512, "num_hidden_layers": 16}
PLACE = {"level": 2, "hop_length": 128, "sampling_rate": 44100}
OURS, PLAIN, PEER = "Trainer", "plain loop", "transformers 4.57.6"
LOSSES_AGREE = {"no": 1e-4, "bf16": 5e-3}  # of each other


def config(options: argparse.Namespace) -> JukeboxPriorConfig:
    windows = {"n_ctx": options.codes, "n_lyrics": options.characters}
    return JukeboxPriorConfig.from_preset(PRESET, **PLACE, **SHAPE, **windows)


def random_batch(config: JukeboxPriorConfig, size: int) -> dict[str, torch.Tensor]:
    labels = torch.ones(size, config.label_length, dtype=torch.long)
    labels[:, LabelColumns.timing] = torch.tensor(
        [180 * config.sampling_rate, 10 * config.sampling_rate, config.window_length]
    )
    labels[:, config.label_columns.lyrics] = torch.randint(1, config.lyrics_vocab_size, (size, config.n_lyrics))
    return {"codes": torch.randint(config.codebook_size, (size, config.n_ctx)), "labels": labels}


def peer_config(config: JukeboxPriorConfig) -> dict[str, Any]:
    return {
        "level": 0,
        "attention_pattern": "enc_dec_with_lyrics",
        "blocks": config.attention_blocks,
        "num_layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "n_ctx": config.n_ctx,
        "n_heads": config.num_attention_heads,
        "is_encoder_decoder": True,
        "nb_relevant_lyric_tokens": config.n_lyrics,
        "lyric_vocab_size": config.lyrics_vocab_size,
        "encoder_loss_fraction": config.lyrics_loss_fraction,
        "merged_decoder": config.merged_decoder,
        "metadata_conditioning": True,
        "metadata_dims": [config.num_genres, config.num_artists],
        "max_nb_genres": config.genre_words,
        "timing_dims": config.num_time_bins,
        "min_duration": config.min_duration,
        "max_duration": config.max_duration,
        "sampling_rate": config.sampling_rate,
        "music_vocab_size": config.codebook_size,
        "mask": True,
        "res_downs_t": [3, 2, 2],
        "res_strides_t": [2, 2, 2],
    }


def our_step(loop: str, held: dict[str, Any], output_dir: str) -> Callable[[], float]:
    prior, batch = JukeboxPrior(JukeboxPriorConfig.from_dict(held["our_config"])), held["batch"]
    prior.load_state_dict(held["ours"])
    if loop == PLAIN:
        return plain_step(prior, lambda: prior(**batch).loss, held["precision"])
    arguments = LoopArguments(
        output_dir=output_dir,
        report_to="none",
        train_batch_size=len(batch["codes"]),
        mixed_precision=held["precision"],
    )
    task = PriorTask(prior.config, JukeboxVQVAE(JukeboxVQVAEConfig(codebook_size=prior.config.codebook_size)))
    none: Any = []
    trainer = Trainer(prior, task, TrainingData(none, none, ""), arguments, make_accelerator(arguments))
    trainer.model.train()
    batches = itertools.repeat(batch)
    return lambda: trainer.train_step(batches)["loss"].item()


def answer_as(loop: str) -> None:
    """Serve one of our loops in this process."""
    with tempfile.TemporaryDirectory() as folder:
        serve(lambda held: answering_steps(lambda: our_step(loop, held, folder)))


def compare(options: argparse.Namespace, precision: str) -> list[dict[str, Any]]:
    """Measure the loops in one precision, in turn."""
    torch.manual_seed(0)
    prior = JukeboxPrior(config(options))
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "prior.pt"
        held = {"config": peer_config(prior.config), "state": measuring.peer_state(prior), "ours": prior.state_dict()}
        held |= {"our_config": prior.config.to_dict(), "batch": random_batch(prior.config, options.batch)}
        held |= {"precision": precision}
        torch.save(held, weights)
        loops = {
            loop: measuring.Other([sys.executable, __file__, "--answer-as", loop], options.threads, weights)
            for loop in (OURS, PLAIN)
        } | measuring.others(options, weights)
        answers: dict[str, list[dict[str, Any]]] = {loop: [] for loop in loops}

        def take_step(loop: str) -> float:
            answers[loop].append(loops[loop].request(task="train"))
            return float(answers[loop][-1]["core_seconds" if options.core_seconds else "seconds"])

        steps = {loop: lambda loop=loop: take_step(loop) for loop in loops}
        first = measuring.in_turn(2, steps)  # warm up: the optimizer makes its moments in the first step
        taken = measuring.in_turn(options.rounds, steps)
    del first
    losses = [each[0]["loss"] for each in answers.values()]
    if max(losses) - min(losses) > LOSSES_AGREE[precision] * max(losses):
        raise SystemExit(f"The first losses of {', '.join(loops)} are {losses}: they do not compute the same.")
    rows = []
    for loop in loops:
        ratios = [theirs / ours for theirs, ours in zip(taken[loop], taken[OURS], strict=True)]
        peak = answers[loop][-1]["peak_mb"]
        rows.append(
            {
                "precision": precision,
                "loop": loop,
                "loss": round(answers[loop][0]["loss"], 5),
                "samples/s": round(options.batch / median(taken[loop]), 3),
                f"{OURS} is faster by": round(median(ratios), 2),
                "peak MB": round(peak),
                "peak, Trainer's as share": round(answers[OURS][-1]["peak_mb"] / peak, 2),
            }
        )
    return rows


def main() -> None:
    parser = measuring.arguments(__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--codes", type=int, default=PRIOR_PRESETS[PRESET]["n_ctx"], help="codes per window")
    parser.add_argument(
        "--characters", type=int, default=PRIOR_PRESETS[PRESET]["n_lyrics"], help="characters per window"
    )
    parser.add_argument(
        "--core-seconds", action="store_true", help="count processor time: for a busy machine, 1 thread"
    )
    parser.add_argument("--precision", nargs="+", choices=LOSSES_AGREE, default=["no"], help="as --mixed_precision")
    parser.add_argument("--answer-as", choices=[OURS, PLAIN], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer_as:
        answer_as(options.answer_as)
        return
    torch.set_num_threads(options.threads)
    rows = [row for precision in options.precision for row in compare(options, precision)]
    measuring.table(rows)
    clock = "core seconds" if options.core_seconds else "seconds"
    window = {"codes": options.codes, "characters": options.characters, "batch": options.batch}
    measuring.finish(benchmark="training_step", **measuring.machine(options.threads), **window, clock=clock, rows=rows)


if __name__ == "__main__":
    main()
