"""The model card of a trained model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, ModelCardData
from transformers import PreTrainedModel

from .arguments import LoopArguments

_FILES = [
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
    "README.md",
    "adapter/*",
]
# What says nothing about the model, but much about the machine that it was trained on.
_NOT_SHOWN = (
    "output_dir",
    "offload_ema",
    "logging_steps",
    "validation_steps",
    "max_validation_batches",
    "sample_steps",
    "num_samples",
    "checkpointing_steps",
    "checkpoints_total_limit",
    "resume_from_checkpoint",
    "report_to",
    "push_to_hub",
    "hub_model_id",
)
_CARD = """\
# {title}

{what}, trained with `hf_jukebox`.

```python
from hf_jukebox import {class_name}

model = {class_name}.from_pretrained("{title}")
```

`hf-jukebox assemble` puts a VQ-VAE and its priors together to a pipeline that makes music.

## Data

{data}. What the model plays resembles what it was trained on; the rights to those recordings are not ours to give.

## Results

{results}

## Training

| option | value |
|---|---|
{options}
"""


def write_card(
    folder: Path, model: PreTrainedModel, arguments: LoopArguments, data: str, figures: dict[str, float]
) -> None:
    """Write README.md: what the model is, what it was trained on and how, and its validation figures.

    Raises:
        OSError: the folder cannot be written.
    """
    chosen = {name: value for name, value in asdict(arguments).items() if value is not None and name not in _NOT_SHOWN}
    card = ModelCard(
        "---\n"
        + ModelCardData(library_name="hf_jukebox", tags=["jukebox", "music", "audio"]).to_yaml()
        + "\n---\n\n"
        + _CARD.format(
            title=_repository(arguments),
            what=_describe(model.config),
            class_name=type(model).__name__,
            data=data,
            results="\n".join(f"- validation {name}: {value:.4g}" for name, value in figures.items())
            or "Not validated.",
            options="\n".join(f"| {name} | {value} |" for name, value in chosen.items()),
        )
    )
    card.save(folder / "README.md")


def push(folder: Path, arguments: LoopArguments) -> str:
    """Send the finished model and its card to the Hub; the address of what was sent."""
    api = HfApi()
    repository = api.create_repo(_repository(arguments), exist_ok=True).repo_id
    return api.upload_folder(
        repo_id=repository, folder_path=folder, allow_patterns=_FILES, commit_message="Trained model"
    ).commit_url


def _repository(arguments: LoopArguments) -> str:
    return arguments.hub_model_id or Path(arguments.output_dir).resolve().name


def _describe(config: Any) -> str:
    if config.model_type == "jukebox_vqvae":
        return f"A Jukebox VQ-VAE of {config.num_levels} levels at {config.sampling_rate} Hz"
    kind = "upsampler" if config.is_upsampler else "top prior"
    return f"A Jukebox {kind} of level {config.level}, with windows of {config.n_ctx} codes"
