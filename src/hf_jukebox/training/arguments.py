"""Options of a training run: documented dataclasses, read from the command line or from a YAML file."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn

from accelerate import PartialState
from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from ..console.errors import errors_as_one_line, stop
from ..console.quiet import hush_libraries
from ..console.signals import handle_signals, work_to_keep
from ..files.text import listed, user_path
from ..files.yaml_files import read_yaml
from ..sampling.processes import is_launched_on_cpu

_SWITCH = {"on": "true", "off": "false"}  # spellings of YAML that the command line lacks


def _option(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass
class LoopArguments:
    """Options of the training loop, the same for a VQ-VAE and a prior. The defaults are the published recipe."""

    _argument_group_name = "training loop"

    output_dir: str = _option(
        "runs/jukebox", "Folder for the finished model, checkpoints (checkpoint-STEP), samples and logs."
    )
    max_train_steps: int = _option(100_000, "Total optimizer steps, including those before a restart.")
    train_batch_size: int = _option(4, "Examples per step and process; --gradient_accumulation_steps multiplies it.")
    gradient_accumulation_steps: int = _option(1, "Batches whose gradients are averaged for one step.")
    seed: int = _option(0, "Seed of the initial weights, the order of the data and everything else that is random.")
    mixed_precision: Literal["no", "fp16", "bf16"] | None = _option(
        None,
        "Compute the matrix products in half precision; the weights stay in float32. bf16 needs no loss scale. "
        "Defaults to the setting of accelerate launch.",
    )
    gradient_checkpointing: bool = _option(
        False, "Recompute each layer in the backward pass: a third slower, but with far less memory."
    )

    learning_rate: float = _option(3e-4, "Learning rate of Adam after the warm-up.")
    lr_warmup_steps: int = _option(100, "Steps of linear warm-up from 0.")
    lr_anneal_start: int | None = _option(
        None, "Step at which linear decay to 0 begins. It may be set when training is resumed."
    )
    lr_anneal_steps: int | None = _option(
        None, "Steps of that decay; by default it ends with --max_train_steps. Needs --lr_anneal_start."
    )
    adam_beta1: float = _option(0.9, "Decay rate of Adam's mean.")
    adam_beta2: float = _option(0.999, "Decay rate of Adam's mean square; 0.925 was used for prior_5b.")
    adam_epsilon: float = _option(1e-8, "Added to the denominator of Adam's update, so that it is never 0.")
    adam_weight_decay: float = _option(0.01, "Decoupled weight decay, on every parameter.")
    max_grad_norm: float = _option(1.0, "Clip the gradient norm to this value.")

    use_ema: bool = _option(True, "Keep an EMA of the weights, with which the model is validated and saved.")
    ema_decay: float | None = _option(
        None,
        "Decay of the EMA per step, at most (1 + step) / (10 + step); by default 1 - (batch over all processes / 8) / "
        "1000.",
    )
    offload_ema: bool = _option(False, "Keep the EMA in CPU memory.")

    logging_steps: int = _option(10, "Steps between entries of the loss curves.")
    validation_steps: int = _option(1000, "Steps between validations.")
    max_validation_examples: int = _option(
        200, "Validate on at most this many held-out examples, evenly spaced over the songs, whatever the batch size."
    )
    sample_steps: int = _option(5000, "Steps between sets of audio samples; 0 for none.")
    num_samples: int = _option(2, "Audio samples per set.")
    checkpointing_steps: int = _option(1000, "Steps between checkpoints.")
    checkpoints_total_limit: int | None = _option(3, "Keep only this many of the newest checkpoints.")
    resume_from_checkpoint: str | None = _option(
        None,
        "A checkpoint folder to resume from; 'latest', the newest in --output_dir, if there is one; or a Hub "
        "repository.",
    )
    overwrite_output_dir: bool = _option(
        False, "Start over in an --output_dir that holds a finished model or checkpoints, and replace them."
    )
    report_to: str = _option(
        "tensorboard", "Trackers of Accelerate, separated by commas (tensorboard, trackio, wandb), or 'none'."
    )
    push_to_hub: bool = _option(False, "Upload the finished model to the Hub, with a model card.")
    hub_model_id: str | None = _option(None, "Repository to upload to; by default the name of --output_dir.")
    hub_strategy: Literal["end", "every_save"] = _option(
        "end",
        "Upload at the end, or also every checkpoint, in the background, to resume from on another machine: "
        "--resume_from_checkpoint REPO.",
    )
    hub_private_repo: bool | None = _option(
        None, "Create a private repository; by default as the settings of your account say."
    )

    def __post_init__(self) -> None:
        """Validate what nothing downstream would catch.

        Raises:
            ValueError: an option is out of range, or needs another one.
        """
        at_least_one = (
            "max_train_steps",
            "train_batch_size",
            "gradient_accumulation_steps",
            "logging_steps",
            "validation_steps",
            "max_validation_examples",
            "checkpointing_steps",
            *(("num_samples",) if self.sample_steps else ()),
        )
        for least, names in ((1, at_least_one), (0, ("lr_warmup_steps", "sample_steps", "num_samples", "seed"))):
            for name in names:
                if not getattr(self, name) >= least:
                    advice = "; --sample_steps 0 turns audio samples off" if name == "num_samples" else ""
                    raise ValueError(f"--{name} must be at least {least}, not {getattr(self, name)}{advice}.")
        if self.checkpoints_total_limit is not None and self.checkpoints_total_limit < 1:
            raise ValueError("--checkpoints_total_limit must be at least 1: the newest checkpoint is always kept.")
        if not 0 < self.learning_rate < math.inf or not self.max_grad_norm > 0:
            raise ValueError("--learning_rate and --max_grad_norm must be above 0.")
        if self.lr_anneal_steps is not None and self.lr_anneal_start is None:
            raise ValueError("--lr_anneal_steps needs --lr_anneal_start, the step at which the decay begins.")
        if self.lr_anneal_start is not None and not self.anneal_length > 0:
            raise ValueError(
                f"--lr_anneal_start {self.lr_anneal_start} leaves no step of {self.max_train_steps} to anneal; start "
                "earlier, or raise --max_train_steps."
            )
        if self.hub_strategy == "every_save" and not self.push_to_hub:
            raise ValueError("--hub_strategy every_save uploads checkpoints only with --push_to_hub.")
        for name in ("adam_beta1", "adam_beta2", "ema_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"--{name} must be at least 0 and below 1, not {value}.")
        for name in ("adam_epsilon", "adam_weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"--{name} must be 0 or above, not {getattr(self, name)}.")

    @property
    def anneal_length(self) -> int:
        """Steps of the decay to 0, if there is one."""
        if self.lr_anneal_steps is not None:
            return self.lr_anneal_steps
        return self.max_train_steps - (self.lr_anneal_start or 0)

    def learning_rate_at(self, step: int) -> float:
        """Return the rate of a step, counted from 1: linear warm-up, constant, and linear decay to 0 if requested."""
        warmup = min(1.0, step / self.lr_warmup_steps) if self.lr_warmup_steps else 1.0
        if self.lr_anneal_start is None:
            return self.learning_rate * warmup
        return self.learning_rate * warmup * max(0.0, 1 - max(0, step - self.lr_anneal_start) / self.anneal_length)


def parse_arguments(
    dataclasses: Sequence[type],
    description: str,
    examples: str,
    arguments: Sequence[str] | None = None,
    program: str | None = None,
) -> tuple[Any, ...]:
    """Read options from the command line and, with `--config FILE.yaml`, from a file; the command line has precedence.

    Args:
        dataclasses: One dataclass per group of options.
        description: Purpose of the program.
        examples: Commands to copy, for the end of `--help`.
        arguments: Arguments of the command line; by default those of the process.
        program: Name of the command, for help and errors; by default that of the process.

    Returns:
        One instance per dataclass. On bad input the process ends with one line and exit status 2.
    """
    parser = make_parser(dataclasses, description, examples, program)
    words = sys.argv[1:] if arguments is None else list(arguments)
    first, _ = _config_only().parse_known_args(words)
    try:
        if first.config is not None:
            words = _read_options(user_path(first.config), parser._actions) + words
        *parsed, _ = parser.parse_args_into_dataclasses(words)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    for group in parsed:
        _expand_paths(group)
    return tuple(parsed)


def make_parser(
    dataclasses: Sequence[type], description: str, examples: str, program: str | None = None
) -> HfArgumentParser:
    """Return the parser of a training program, also for a list of its options in the documentation."""
    parser = _Parser(
        dataclasses,  # type: ignore[arg-type]  # any sequence works
        prog=program,
        description=description,
        epilog=examples,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument(
        "--config", metavar="FILE", help="A YAML file with any of these options, one 'name: value' each."
    )
    return parser


def run(
    train: Callable[..., Any],
    dataclasses: Sequence[type],
    documentation: str | None,
    again: str = "the same command with --resume_from_checkpoint latest",
    *,
    words: Sequence[str] | None = None,
    program: str | None = None,
) -> None:
    """Run a training program: read the options and train; on bad input end with one line and exit status 2.

    Args:
        train: Called with one instance per dataclass of `dataclasses`.
        documentation: Docstring of the program: its purpose, a blank line, and commands to copy.
        again: Command that continues an interrupted run, in words.
        words: Arguments of the command line; by default those of the process.
        program: Name of the command, for help and errors; by default that of the process.
    """
    program = program or Path(sys.argv[0]).name
    handle_signals(program)
    hush_libraries()
    description, _, examples = (documentation or "").partition("\n\n")
    parsed = parse_arguments(dataclasses, description, examples, words, program)
    with errors_as_one_line(
        program,
        last_words=lambda: f"{program}: stopped; to continue, run {again}.",
        on_low_memory="use a smaller --train_batch_size or --gradient_checkpointing, or close other programs",
        log_level=logging.INFO,
        each_process=True,
    ):
        state = PartialState(cpu=is_launched_on_cpu())
        try:
            with work_to_keep():
                train(*parsed)
        finally:
            state.destroy_process_group()


class _Parser(HfArgumentParser):
    """Parser that ends the process with the error in one line, and a second line that names the help."""

    def error(self, message: str) -> NoReturn:
        stop(self.prog, message, f"Help: {self.prog} --help")


def _expand_paths(group: Any) -> None:
    """Expand a leading `~` in option values, which shells do only at the start of a word, and YAML never."""
    for option in fields(group):
        value = getattr(group, option.name)
        if isinstance(value, str) and value.startswith("~"):
            setattr(group, option.name, str(user_path(value)))


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


def _config_only() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config")
    return parser


def _read_options(path: Path, actions: Sequence[argparse.Action]) -> list[str]:
    """Turn the options of a file into command-line arguments, so that both are checked alike."""
    if not user_path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}; --config names a YAML file with options.")
    options = read_yaml(path) or {}
    if not isinstance(options, dict):
        raise ValueError(f"{path} must hold one 'name: value' per line.")
    unknown = sorted(set(options) - {action.dest for action in actions})
    if unknown:
        raise ValueError(f"{path} holds unknown options: {listed(unknown)}; see --help for the list of options.")
    switches = {action.dest for action in actions if action.type is string_to_bool}
    words = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str | None) for each in values):
            raise ValueError(f"{path}: {name} must have one value, or a list of values.")
        if isinstance(value, str):
            value = _SWITCH.get(value.lower(), value) if name in switches else value
            words.append(f"--{name}={value}")  # as one argument: a value may begin with a hyphen
        elif value is not None:
            words += [f"--{name}", *("" if each is None else str(each) for each in values)]
    return words
