"""Train a demo model: music is synthesised, the VQ-VAE and the priors are trained on it, and put together.

    python examples/demo/train_demo.py --output runs/demo

leaves the pipeline in runs/demo/model, with weights in half the bytes (float16; they are read as float32). What is
already finished is not done again. docs/demo.md tells how long it takes and how good the result is.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from safetensors.torch import load_file, save_file
from synthesize import write_songs

from hf_jukebox import JukeboxPipeline, JukeboxPrior, JukeboxVQVAE
from hf_jukebox.training.arguments import LoopArguments
from hf_jukebox.training.data import DataArguments, encode_songs, songs_of_folder
from hf_jukebox.training.train_prior import PriorArguments, train_prior
from hf_jukebox.training.train_vqvae import VQVAEArguments, train_vqvae

RATE = 22050
LENGTHS_IN_S = (12, 16, 24, 40, 60)  # so that the timing labels of a prompt of any length were seen

VQVAE: dict[str, Any] = {  # hops 16, 64 and 256: 1378, 345 and 86 codes a second
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
TOP: dict[str, Any] = LABELS | {  # dense attention: a bar has 150 codes or so, and has to be found again
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
PRIORS = [UPSAMPLER | {"n_ctx": 2048}, UPSAMPLER, TOP]
BATCH_SIZES = [2, 4, 4]


@dataclass(frozen=True)
class Stages:
    """The folders of a run."""

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
        """A file with settings of a model, for `--model_config`."""
        path = self.output / f"{name}.json"
        path.write_text(json.dumps(values, indent=1))
        return str(path)


def synthesize(stages: Stages, songs: int) -> None:
    """Songs of several lengths, with consecutive seeds."""
    share = songs // len(LENGTHS_IN_S)
    for number, seconds in enumerate(LENGTHS_IN_S):
        folder = stages.songs / f"{seconds}_s"
        if not (folder / "metadata.csv").is_file():
            write_songs(folder, share, seconds, number * share, RATE)
    tables = [(stages.songs / f"{seconds}_s" / "metadata.csv").read_text().splitlines() for seconds in LENGTHS_IN_S]
    rows = [f"{s}_s/{row}" for s, table in zip(LENGTHS_IN_S, tables, strict=True) for row in table[1:]]
    (stages.songs / "metadata.csv").write_text("\n".join([tables[0][0], *rows]) + "\n")


def schedule(output: Path, steps: int, **options: Any) -> LoopArguments:
    """A loop that anneals over its second half, and goes on where it was stopped."""
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
    """Save a pipeline with float16 weights under configs that say float32, so that they are computed with in that."""
    pipeline.save_pretrained(folder)
    for path in folder.glob("*/model.safetensors"):
        weights = {name: each.half() if each.is_floating_point() else each for name, each in load_file(path).items()}
        save_file(weights, path, metadata={"format": "pt"})
        path.chmod(0o644)


def main(
    output: Annotated[Path, typer.Option(help="Folder for everything.")],
    songs: Annotated[int, typer.Option(min=5, help="Pieces to train on.")] = 600,
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
        # The shipped weights are rounded: the priors shall learn the codes that these give.
        JukeboxVQVAE.from_pretrained(stages.vqvae).half().float().save_pretrained(stages.vqvae)
    vqvae = JukeboxVQVAE.from_pretrained(stages.vqvae)
    encode_songs(songs_of_folder(stages.songs), vqvae, stages.codes)
    for level, settings in reversed(list(enumerate(PRIORS))):
        if (stages.prior(level) / "model.safetensors").is_file():
            continue
        prior = PriorArguments(
            vqvae=str(stages.vqvae),
            level=level,
            model_config=stages.settings(f"prior_{level}", settings),
            codes_dir=str(stages.codes),
            label_dropout=0.3,
        )
        loop = schedule(
            stages.prior(level),
            prior_steps,
            train_batch_size=BATCH_SIZES[level],
            learning_rate=1.5e-3,
            adam_beta2=0.95,
            mixed_precision="bf16",
        )
        train_prior(prior, data, loop)
    parts = {f"prior_{level}": JukeboxPrior.from_pretrained(stages.prior(level)) for level in range(len(PRIORS))}
    write_half_precision(JukeboxPipeline(vqvae, **parts), output / "model")
    typer.echo(f"The pipeline is in {output / 'model'}.")


if __name__ == "__main__":
    typer.run(main)
