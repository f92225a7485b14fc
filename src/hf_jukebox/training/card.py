"""Card of a trained model: what it was trained on and how, its curves and its audio samples."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..sharing.cards import Card, audio_player, public_name, repositories, table
from ..sharing.curves import Curve, draw_curves
from ..sharing.model_cards import adapter_snippet, class_name_of, describe, how_to_use, model_snippet
from ..sharing.quoting import as_argument, as_code, as_python, as_words
from .arguments import LoopArguments
from .lora import adapter_config
from .tracking import SAMPLES

CURVES = "curves.png"
# Options of the machine and the run rather than of the model.
_NOT_SHOWN = (
    "output_dir",
    "offload_ema",
    "logging_steps",
    "validation_steps",
    "max_validation_examples",
    "sample_steps",
    "num_samples",
    "checkpointing_steps",
    "checkpoints_total_limit",
    "resume_from_checkpoint",
    "overwrite_output_dir",
    "report_to",
    "push_to_hub",
    "hub_model_id",
    "hub_strategy",
    "hub_private_repo",
)


@dataclass(frozen=True)
class Training:
    """Facts of a training run, for a card.

    Attributes:
        command: Command of `hf-jukebox` that trains such a model: `"train prior"` or `"train vqvae"`.
        options: Options of the model: preset, level, VQ-VAE and so on.
        base: Folder or repository of the model that was fine-tuned; None for a new one.
        vqvae: The same of the VQ-VAE whose codes a prior models.
        datasets: Data sets of the Hub that it was trained on.
    """

    command: str = "train prior"
    options: Mapping[str, object] = field(default_factory=dict)
    base: str | None = None
    vqvae: str | None = None
    datasets: Sequence[str] = ()


def training_card(
    name: str,
    model: PreTrainedModel,
    arguments: LoopArguments,
    training: Training,
    data: str,
    metrics: Mapping[str, float],
    samples: Mapping[str, str],
    repository: str | None = None,
) -> Card:
    """Return the card of a trained model.

    Args:
        name: Repository or folder that it will be loaded from.
        data: The training data in a sentence.
        metrics: Validation metrics; empty before the end.
        samples: Path to description of each audio sample.
        repository: Repository whose files the card plays; by default those beside the card.
    """
    config: Any = model.config
    adapter = adapter_config(model)
    options = {**training.options, **asdict(arguments)}
    shown = {key: _shown(value) for key, value in options.items() if value is not None and key not in _NOT_SHOWN}
    results = "\n".join(f"- validation {key}: {value:.4g}" for key, value in metrics.items()) or "Not validated."
    picture = f"\n\n![Curves of the training]({CURVES})" if (Path(arguments.output_dir) / CURVES).is_file() else ""
    players = [f"{text}\n\n{audio_player(path, repository)}" for path, text in samples.items()]
    class_name = class_name_of(config)
    return Card(
        title=public_name(name),
        summary=f"A Jukebox {describe(config)}, trained with `hf_jukebox`.",
        snippet=model_snippet(name, config),
        licence=config.weights_license,
        sections={
            "Adapter": "" if adapter is None else _adapter_text(name, training.base, adapter),
            "Use it": how_to_use(name, config),
            "Data": f"{data}. This card grants no rights to these recordings.",
            "Results": results + picture,
            "Samples": "\n\n".join(players),
            "Training": table(shown),
            "Continue training": _how_to_continue(name, training, arguments, adapter is not None),
        },
        base_model=[each for each in repositories(training.base) if each != name],
        relation=None if training.base is None else "finetune" if adapter is None else "adapter",
        datasets=training.datasets,
        tags=[class_name.removeprefix("Jukebox").lower(), *(["lora"] if adapter is not None else [])],
    )


def draw_history(folder: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Draw the curves of a run beside its card, if there are any; for a prior bits per code, otherwise the loss."""
    for metric in ("bits_per_code", "loss"):
        curves: dict[str, Curve] = {}
        for part in ("train", "validation"):
            key = f"{part}/{metric}"
            points = [(int(each["step"]), each[key]) for each in history if math.isfinite(each.get(key, math.nan))]
            if points:
                curves[f"{part}: {metric.replace('_', ' ')}"] = points
        if curves:
            draw_curves(folder / CURVES, curves)
            return


def latest_samples(folder: Path) -> dict[str, str]:
    """Return the newest audio samples of a run: path in its folder to description."""
    steps = [(int(path.name.removeprefix("step-")), path) for path in (folder / SAMPLES).glob("step-*")]
    if not steps:
        return {}
    newest = max(steps)[1]
    notes = json.loads((newest / "prompts.json").read_text("utf-8")) if (newest / "prompts.json").is_file() else {}
    return {
        path.relative_to(folder).as_posix(): f"{as_code(path.stem)}, step {newest.name.removeprefix('step-')}"
        + (f": {as_words(str(notes[path.stem]))}" if notes.get(path.stem) else "")
        for path in sorted(newest.glob("*.wav"))
    }


def _adapter_text(name: str, base: str | None, adapter: Any) -> str:
    name = public_name(name)
    return f"""
The weights are those of {as_code(public_name(base or "THE PRIOR"))} with a LoRA adapter merged in, of rank \
{adapter.r} and alpha {adapter.lora_alpha:g}. To load the adapter alone:

```python
{adapter_snippet(name, base).strip()}
```

In a pipeline: {as_code(f"pipe.load_lora_weights({as_python(name)})")}, or \
{as_code(f"hf-jukebox sample prompt.wav --lora {as_argument(name)}")}.
"""


def _how_to_continue(name: str, training: Training, arguments: LoopArguments, is_adapter: bool) -> str:
    name = as_argument(public_name(name))
    vqvae = f" --vqvae {as_argument(public_name(training.vqvae))}" if training.vqvae else ""
    start = "--prior" if training.vqvae else "--vqvae"
    text = f"""
```bash
hf-jukebox {training.command} {start} {name}{vqvae} --train_data_dir SONGS --output_dir more
```

trains {"the merged prior" if is_adapter else "it"} further."""
    if arguments.hub_strategy == "every_save" and arguments.push_to_hub:
        option = as_code(f"--resume_from_checkpoint {name}")
        text += f" The options above with {option} resume the run from its last checkpoint."
    return text


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return public_name(value) if isinstance(value, str) and value else str(value)
