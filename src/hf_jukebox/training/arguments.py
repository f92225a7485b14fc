"""What a training run is told: documented dataclasses, read from the command line or from a YAML file."""

from __future__ import annotations

import argparse
import logging
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

_SWITCH = {"on": "true", "off": "false"}  # as YAML has it, and the command line does not


def _option(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass
class LoopArguments:
    """The training loop: the same for a VQ-VAE and for a prior. The defaults are the published recipe."""

    _argument_group_name = "training loop"

    output_dir: str = _option(
        "runs/jukebox", "Where the finished model goes, beside checkpoints (checkpoint-STEP), samples and logs."
    )
    max_train_steps: int = _option(100_000, "Optimizer steps in all, those before a restart included.")
    train_batch_size: int = _option(4, "Examples a step on each process; --gradient_accumulation_steps multiplies it.")
    gradient_accumulation_steps: int = _option(1, "Batches whose gradients are averaged for one step.")
    seed: int = _option(0, "Of the initial weights, of the order of the data and of everything else that is random.")
    mixed_precision: Literal["no", "fp16", "bf16"] | None = _option(
        None,
        "Compute the matrix products in half precision; the weights stay in float32. bf16 needs no loss scale. By "
        "default what accelerate launch was told.",
    )
    gradient_checkpointing: bool = _option(
        False, "Recompute each layer in the backward pass: a third slower, for far less memory."
    )

    learning_rate: float = _option(3e-4, "Of Adam, after the warm-up.")
    lr_warmup_steps: int = _option(100, "Steps in which the rate rises from 0.")
    lr_anneal_start: int | None = _option(
        None, "Step from which the rate falls in a line to 0. May be given when training is resumed."
    )
    lr_anneal_steps: int | None = _option(
        None, "Length of that fall; by default it ends with --max_train_steps. Needs --lr_anneal_start."
    )
    adam_beta1: float = _option(0.9, "Decay of Adam's mean.")
    adam_beta2: float = _option(0.999, "Decay of Adam's mean square; 0.925 was used for prior_5b.")
    adam_epsilon: float = _option(1e-8, "Keeps Adam from dividing by 0.")
    adam_weight_decay: float = _option(0.01, "Decoupled weight decay, on every parameter.")
    max_grad_norm: float = _option(1.0, "Longer gradients are cut to this length.")

    use_ema: bool = _option(True, "Average the weights over the steps; the average is what is validated and saved.")
    ema_decay: float | None = _option(
        None, "Decay of that average a step; by default 1 - (batch over all processes / 8) / 1000."
    )
    offload_ema: bool = _option(False, "Keep the average in the memory of the CPU.")

    logging_steps: int = _option(10, "Steps from one entry of the loss curves to the next.")
    validation_steps: int = _option(1000, "Steps from one validation to the next.")
    max_validation_batches: int = _option(50, "Validate on at most this many batches a process.")
    sample_steps: int = _option(5000, "Steps from one set of audio samples to the next; 0 for none.")
    num_samples: int = _option(2, "Audio samples at a time.")
    checkpointing_steps: int = _option(1000, "Steps from one checkpoint to the next.")
    checkpoints_total_limit: int | None = _option(3, "Keep only this many checkpoints, the newest.")
    resume_from_checkpoint: str | None = _option(
        None, "A checkpoint folder to go on from, or 'latest': the newest in --output_dir, if there is one."
    )
    overwrite_output_dir: bool = _option(
        False, "Train anew in an --output_dir that holds a finished model or checkpoints, in their place."
    )
    report_to: str = _option(
        "tensorboard", "Trackers of Accelerate, separated by commas (tensorboard, trackio, wandb), or 'none'."
    )
    push_to_hub: bool = _option(False, "Send the finished model to the Hub, with a model card.")
    hub_model_id: str | None = _option(None, "Its repository there; by default the name of --output_dir.")

    def __post_init__(self) -> None:
        """Check what no later code would notice.

        Raises:
            ValueError: an option is out of range, or misses another one.
        """
        at_least_one = (
            "max_train_steps",
            "train_batch_size",
            "gradient_accumulation_steps",
            "logging_steps",
            "validation_steps",
            "max_validation_batches",
            "checkpointing_steps",
        )
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1, not {getattr(self, name)}.")
        if self.checkpoints_total_limit is not None and self.checkpoints_total_limit < 1:
            raise ValueError("--checkpoints_total_limit must be at least 1: the newest checkpoint is always kept.")
        if not self.learning_rate > 0 or not self.max_grad_norm > 0:
            raise ValueError("--learning_rate and --max_grad_norm must be above 0.")
        if self.lr_anneal_steps is not None and self.lr_anneal_start is None:
            raise ValueError("--lr_anneal_steps needs --lr_anneal_start, the step at which the rate begins to fall.")
        if self.lr_anneal_start is not None and not self.anneal_length > 0:
            raise ValueError(
                f"--lr_anneal_start {self.lr_anneal_start} leaves no step of {self.max_train_steps} to anneal; start "
                "earlier, or raise --max_train_steps."
            )
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(f"--ema_decay must be at least 0 and below 1, not {self.ema_decay}.")

    @property
    def anneal_length(self) -> int:
        """Steps in which the rate falls to 0, once it does."""
        if self.lr_anneal_steps is not None:
            return self.lr_anneal_steps
        return self.max_train_steps - (self.lr_anneal_start or 0)

    def learning_rate_at(self, step: int) -> float:
        """Rate of a step, the first being 1: a warm-up, a constant, and a line to 0 where one is asked for."""
        warmup = min(1.0, step / self.lr_warmup_steps) if self.lr_warmup_steps else 1.0
        if self.lr_anneal_start is None:
            return self.learning_rate * warmup
        return self.learning_rate * warmup * max(0.0, 1 - max(0, step - self.lr_anneal_start) / self.anneal_length)


def parse_arguments(
    dataclasses: Sequence[type], description: str, examples: str, arguments: Sequence[str] | None = None
) -> tuple[Any, ...]:
    """Read options from the command line and, with `--config FILE.yaml`, from a file; the command line has precedence.

    Args:
        dataclasses: One a group of options.
        description: What the script does.
        examples: Commands to copy, for the end of `--help`.
        arguments: The command line's words, by default those of the process.

    Returns:
        One instance of each dataclass. On bad input the process ends with one line and exit status 2.
    """
    parser = _Parser(
        dataclasses,  # type: ignore[arg-type]  # any sequence will do
        description=description,
        epilog=examples,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument(
        "--config", metavar="FILE", help="A YAML file with any of these options, one 'name: value' each."
    )
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


def run(
    train: Callable[..., Any],
    dataclasses: Sequence[type],
    documentation: str | None,
    again: str = "the same command and --resume_from_checkpoint latest",
) -> None:
    """The whole of a training script: read the options, train, and on bad input end with one line and exit status 2.

    Args:
        train: Called with one instance of each of `dataclasses`.
        documentation: The script's: what it does, a blank line, and commands to copy.
        again: What an interrupted run is gone on with.
    """
    program = Path(sys.argv[0]).name
    handle_signals(program)
    hush_libraries()
    description, _, examples = (documentation or "").partition("\n\n")
    parsed = parse_arguments(dataclasses, description, examples)
    with errors_as_one_line(
        program,
        last_words=lambda: f"{program}: stopped; go on with {again}.",
        on_low_memory="use a smaller --train_batch_size or --gradient_checkpointing, or end other programs",
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
    """Options of which a wrong one ends the process with a line that says so, and one that names the help."""

    def error(self, message: str) -> NoReturn:
        stop(self.prog, message, f"Help: {self.prog} --help")


def _expand_paths(group: Any) -> None:
    """Expand a leading `~` in the values of options, which shells do only at the start of a word and YAML never."""
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


def _read_options(path: Path, known: Sequence[argparse.Action]) -> list[str]:
    """The options of a file as words of the command line, so that they are checked alike."""
    if not user_path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}; --config names a YAML file with options.")
    options = read_yaml(path) or {}
    if not isinstance(options, dict):
        raise ValueError(f"{path} must hold one 'name: value' a line.")
    unknown = sorted(set(options) - {action.dest for action in known})
    if unknown:
        raise ValueError(f"{path} holds unknown options: {listed(unknown)}; see --help for those there are.")
    switches = {action.dest for action in known if action.type is string_to_bool}
    words = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str | None) for each in values):
            raise ValueError(f"{path}: {name} must have one value, or a list of values.")
        if isinstance(value, str):
            value = _SWITCH.get(value.lower(), value) if name in switches else value
            words.append(f"--{name}={value}")  # in one word: a value may begin with a hyphen
        elif value is not None:
            words += [f"--{name}", *("" if each is None else str(each) for each in values)]
    return words
