"""Train a demo model: synthesise music, train the VQ-VAE and the priors on it, and assemble them.

    python examples/demo/train_demo.py --output runs/demo

leaves the pipeline in runs/demo/model, with weights in half the bytes (float16; they are read as float32). Finished
stages are skipped. docs/demo.md has its duration and the quality of the result.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from robust import RobustPrior
from safetensors.torch import load_file, save_file
from synth.song import STEPS
from synth.styles import STYLES
from synthesize import write_songs

from hf_jukebox import JukeboxPipeline, JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE
from hf_jukebox.convert.pipeline_folder import stored_fingerprint
from hf_jukebox.hierarchy import Hierarchy
from hf_jukebox.training.accelerator import make_accelerator
from hf_jukebox.training.arguments import LoopArguments
from hf_jukebox.training.data import (
    CodeCache,
    DataArguments,
    code_data,
    encode_songs,
    songs_of_folder,
    tables_from_songs,
)
from hf_jukebox.training.loop import Trainer
from hf_jukebox.training.prior_arguments import PriorArguments
from hf_jukebox.training.train_prior import PriorTask, train_prior
from hf_jukebox.training.train_vqvae import VQVAEArguments, train_vqvae

RATE = 22050
# Share of the pieces by their length. A window of the top prior is 11.9 s long: most windows start with a piece, like
# those of a continued prompt; longer pieces train later positions and longer timing labels.
LENGTHS_IN_S = {12: 0.9, 24: 0.08, 60: 0.02}

VQVAE: dict[str, Any] = {  # hops 16, 64 and 256: 1378, 345 and 86 codes per second
    "sampling_rate": RATE,
    "downs_t": [2, 2, 2],
    "strides_t": [4, 2, 2],
    "multipliers": [1, 1, 1],
    "codebook_size": 1024,
    "codebook_dim": 32,
    "width": 32,
    "depth": 4,
    "linf_top_k": 512,
    "reconstruction_loss": "lmix",
    "restart_threshold": 0.03,  # a batch has fewer top codes than the codebook has rows
}
LABELS = {"num_artists": 4, "num_genres": 5, "min_duration": 1.0, "max_duration": 600.0}
UPSAMPLER: dict[str, Any] = LABELS | {
    "n_ctx": 1024,
    "hidden_size": 192,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "attention_multiplier": 0.5,
    "attention_blocks": 32,
    "init_scale": 1.0,
    "conditioner_width": 64,
    "conditioner_depth": 4,
    "conditioner_dilation_cycle": 4,
}
TOP: dict[str, Any] = LABELS | {  # dense attention: the previous bar is about 150 codes back, at no fixed row or column
    "n_ctx": 1024,
    "hidden_size": 256,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "attention_multiplier": 0.5,
    "mlp_multiplier": 2.0,
    "attention_order": 0,
    "attention_blocks": 32,
    "init_scale": 1.0,
}
UPSAMPLERS = [UPSAMPLER | {"n_ctx": 2048}, UPSAMPLER]
TOP_LEVEL = len(UPSAMPLERS)
BATCH_SIZES = [2, 4, 4]
LABEL_DROPOUT = 0.5  # a prompt without labels is the usual case


@dataclass(frozen=True)
class Stages:
    """Folders of a run."""

    output: Path

    @property
    def songs(self) -> Path:
        return self.output / "songs"

    @property
    def vqvae(self) -> Path:
        return self.output / "vqvae"

    @property
    def codes(self) -> Path:
        return self.output / "codes"

    def prior(self, level: int) -> Path:
        return self.output / f"prior_{level}"

    def settings(self, name: str, values: dict[str, Any]) -> str:
        """Write a file with settings of a model, for `--model_config`."""
        path = self.output / f"{name}.json"
        path.write_text(json.dumps(values, indent=1))
        return str(path)


def synthesize(stages: Stages, songs: int) -> None:
    """Write songs of several lengths, with consecutive seeds."""
    seed = 0
    for seconds, share in LENGTHS_IN_S.items():
        folder, count = stages.songs / f"{seconds}_s", max(1, round(share * songs))
        if not (folder / "metadata.csv").is_file():
            write_songs(folder, count, seconds, seed, RATE)
        seed += count
    tables = [(stages.songs / f"{seconds}_s" / "metadata.csv").read_text().splitlines() for seconds in LENGTHS_IN_S]
    rows = [f"{s}_s/{row}" for s, table in zip(LENGTHS_IN_S, tables, strict=True) for row in table[1:]]
    (stages.songs / "metadata.csv").write_text("\n".join([tables[0][0], *rows]) + "\n")


def count_beats(prior: JukeboxPrior) -> None:
    """Add waves to the position embedding of a new prior: a bar, half a bar, ... a 32nd note long, for every style.

    From noise alone, a run of this length does not learn the position within a bar.
    """
    position = torch.arange(prior.config.n_ctx)[:, None]
    bars = torch.tensor([STEPS * round(60 * RATE / (4 * 256 * style.bpm)) for style in STYLES.values()])  # in codes
    phase = 2 * torch.pi * position / bars * (2 ** torch.arange(6))[:, None, None]  # [parts of a bar, n_ctx, styles]
    waves = torch.cat([phase.sin(), phase.cos()]).permute(1, 0, 2).flatten(1)
    directions, _ = torch.linalg.qr(torch.randn(prior.config.hidden_size, waves.shape[1]))
    prior.position_embedding.data += 0.15 * waves @ directions.T


def init_top_prior(vqvae: JukeboxVQVAE, codes: CodeCache) -> RobustPrior:
    """Make the top prior with its initial weights."""
    config = JukeboxPriorConfig.from_preset("small_prior", **(Hierarchy.prior_settings(vqvae.config, TOP_LEVEL) | TOP))
    tables_from_songs([song.metadata for song in codes.songs], config).put_into(config)
    torch.manual_seed(0)
    prior = RobustPrior(config)
    count_beats(prior)
    return prior


def train_top_prior(vqvae: JukeboxVQVAE, codes: CodeCache, data: DataArguments, loop: LoopArguments) -> None:
    """Do what `train_prior` does, with a `RobustPrior`."""
    accelerator, prior = make_accelerator(loop), init_top_prior(vqvae, codes)
    windows = code_data(codes, data.prior_chunks(prior.config, vqvae.config, loop.seed), prior.config)
    task = PriorTask(prior.config, vqvae, LABEL_DROPOUT, None, loop.seed)
    Trainer(prior, task, windows, loop, accelerator).train()


def schedule(output: Path, steps: int, **options: Any) -> LoopArguments:
    """Return options of a loop that anneals over its second half, and resumes where it stopped."""
    return LoopArguments(
        output_dir=str(output),
        max_train_steps=steps,
        lr_anneal_start=steps // 2,
        checkpointing_steps=max(steps // 10, 1),
        validation_steps=max(steps // 10, 1),
        sample_steps=0,
        ema_decay=0.998,
        resume_from_checkpoint="latest",
        **options,
    )


def write_half_precision(pipeline: JukeboxPipeline, folder: Path) -> None:
    """Save a pipeline with float16 weights under configs that say float32, which loads them as float32."""
    pipeline.save_pretrained(folder)
    for path in folder.glob("*/model.safetensors"):
        weights = {name: each.half() if each.is_floating_point() else each for name, each in load_file(path).items()}
        save_file(weights, path, metadata={"format": "pt"})
        path.chmod(0o644)
    fingerprint = stored_fingerprint(folder / "vqvae")  # rounding has changed it
    for path in folder.glob("prior_*"):
        config = JukeboxPriorConfig.from_pretrained(path)
        config.vqvae_fingerprint = fingerprint
        config.save_pretrained(path)


def main(
    output: Annotated[Path, typer.Option(help="Folder for everything.")],
    songs: Annotated[int, typer.Option(min=5, help="Pieces to train on.")] = 1200,
    vqvae_steps: Annotated[int, typer.Option(min=2, help="Steps of the VQ-VAE.")] = 3000,
    prior_steps: Annotated[int, typer.Option(min=2, help="Steps of each prior.")] = 3000,
) -> None:
    """Train a demo model."""
    stages = Stages(output)
    output.mkdir(parents=True, exist_ok=True)
    synthesize(stages, songs)
    data = DataArguments(train_data_dir=str(stages.songs), aug_shift=True)
    if not (stages.vqvae / "model.safetensors").is_file():
        arguments = VQVAEArguments(chunk_length=8192, model_config=stages.settings("vqvae", VQVAE))
        loop = schedule(stages.vqvae, vqvae_steps, train_batch_size=8, learning_rate=1e-3, adam_weight_decay=0.0)
        train_vqvae(arguments, data, loop)
        # The shipped weights are rounded: the priors should learn the codes of the rounded VQ-VAE.
        JukeboxVQVAE.from_pretrained(stages.vqvae).half().float().save_pretrained(stages.vqvae)
    vqvae = JukeboxVQVAE.from_pretrained(stages.vqvae)
    codes = encode_songs(songs_of_folder(stages.songs), vqvae, stages.codes)
    for level in reversed(range(TOP_LEVEL + 1)):
        if (stages.prior(level) / "model.safetensors").is_file():
            continue
        loop = schedule(
            stages.prior(level),
            prior_steps,
            train_batch_size=BATCH_SIZES[level],
            learning_rate=1.5e-3,
            adam_beta2=0.95,
            mixed_precision="bf16",
        )
        if level == TOP_LEVEL:
            train_top_prior(vqvae, codes, data, loop)
            continue
        prior = PriorArguments(
            vqvae=str(stages.vqvae),
            level=level,
            model_config=stages.settings(f"prior_{level}", UPSAMPLERS[level]),
            codes_dir=str(stages.codes),
            label_dropout=LABEL_DROPOUT,
        )
        train_prior(prior, data, loop)
    parts = {f"prior_{level}": JukeboxPrior.from_pretrained(stages.prior(level)) for level in range(TOP_LEVEL + 1)}
    write_half_precision(JukeboxPipeline(vqvae, **parts), output / "model")
    typer.echo(f"The pipeline is in {output / 'model'}.")


if __name__ == "__main__":
    typer.run(main)
