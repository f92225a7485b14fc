"""Model card of a trained model, and its upload to the Hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, ModelCardData
from transformers import PreTrainedModel

from ..files.text import first_line
from .arguments import LoopArguments
from .lora import adapter_config

_FILES = [
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
    "README.md",
    "adapter/*",
]
# Options of the machine and the run rather than of the model.
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
    "overwrite_output_dir",
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

{adapter}`hf-jukebox assemble` assembles a VQ-VAE and its priors into a pipeline.

## Data

{data}. The model's output resembles its training data; this card grants no rights to those recordings.

## Results

{results}

## Training

| option | value |
|---|---|
{options}
"""


_ADAPTER = """\
The weights are those of `{base}` with an adapter merged in. To load the adapter alone:

```python
from hf_jukebox.adapters import load_adapter

prior = JukeboxPrior.from_pretrained("{base}")
load_adapter(prior, "{title}")
```

"""


def write_card(
    folder: Path,
    model: PreTrainedModel,
    arguments: LoopArguments,
    data: str,
    metrics: dict[str, float],
    repository: str | None = None,
) -> None:
    """Write README.md: the kind of model, its data, options and validation metrics.

    Args:
        repository: Hub repository that the model will be loaded from; by default a folder.

    Raises:
        OSError: the folder cannot be written.
    """
    options = {name: value for name, value in asdict(arguments).items() if value is not None and name not in _NOT_SHOWN}
    title = repository or _name(arguments)
    base = model.name_or_path or ""  # the fine-tuned model; do not publish local paths
    local = bool(base) and Path(base).is_dir()
    card = ModelCard(
        "---\n"
        + ModelCardData(
            library_name="hf_jukebox",
            tags=["jukebox", "music", "audio"],
            base_model=None if local else base or None,
        ).to_yaml()
        + "\n---\n\n"
        + _CARD.format(
            title=title,
            what=_describe(model.config),
            class_name=type(model).__name__,
            adapter=""
            if adapter_config(model) is None
            else _ADAPTER.format(title=title, base=Path(base).name if local else base),
            data=data,
            results="\n".join(f"- validation {name}: {value:.4g}" for name, value in metrics.items())
            or "Not validated.",
            options="\n".join(f"| {name} | {value} |" for name, value in options.items()),
        )
    )
    card.save(folder / "README.md")


def make_repository(arguments: LoopArguments) -> str:
    """Create the model's Hub repository unless it exists, and return its full name.

    Raises:
        OSError: there is no token, or the Hub rejects it or cannot be reached.
    """
    try:
        return HfApi().create_repo(_name(arguments), exist_ok=True).repo_id
    except Exception as error:  # the types depend on the version of huggingface_hub
        raise OSError(
            f"The Hub repository {_name(arguments)} cannot be created ({first_line(error)}); log in with `hf auth "
            "login`, name another one with --hub_model_id, or leave out --push_to_hub."
        ) from error


def push(folder: Path, repository: str) -> str:
    """Upload the finished model and its card to the Hub, and return the URL of the commit.

    Raises:
        OSError: the upload failed; the folder is kept.
    """
    try:
        return (
            HfApi()
            .upload_folder(
                repo_id=repository, folder_path=folder, allow_patterns=_FILES, commit_message="Trained model"
            )
            .commit_url
        )
    except Exception as error:  # the types depend on the version of huggingface_hub
        raise OSError(
            f"The finished model could not be uploaded to the Hub ({first_line(error)}). It is in {folder}: train "
            "again with --resume_from_checkpoint latest, or upload its files yourself."
        ) from error


def _name(arguments: LoopArguments) -> str:
    return arguments.hub_model_id or Path(arguments.output_dir).resolve().name


def _describe(config: Any) -> str:
    if config.model_type == "jukebox_vqvae":
        return f"A Jukebox VQ-VAE of {config.num_levels} levels at {config.sampling_rate} Hz"
    kind = "upsampler" if config.is_upsampler else "top prior"
    return f"A Jukebox {kind} of level {config.level}, with windows of {config.n_ctx} codes"
