"""References made from the code: the public names, the commands and their options, and the options of training.

The command line is written twice from the same tree: as a page, and as command-line.json for programs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import typer.main

import hf_jukebox

Command = dict[str, Any]

API = [
    (
        "Pipeline",
        "hf_jukebox",
        ["JukeboxPipeline", "JukeboxPipelineOutput", "AudioBlock", "SamplingProgress", "SamplingSettings"],
    ),
    ("Models", "hf_jukebox", ["JukeboxVQVAE", "JukeboxVQVAEConfig", "JukeboxPrior", "JukeboxPriorConfig"]),
    ("Labels and lyrics", "hf_jukebox", ["JukeboxTokenizer", "WindowLabels", "LyricAlignment", "align_lyrics"]),
    ("Representations", "hf_jukebox", ["JukeboxEmbeddings"]),
    ("Runs", "hf_jukebox", ["JukeboxRun", "SongRequest", "pick_candidate", "read_songs", "export_run", "open_song"]),
    ("A single prior", "hf_jukebox", ["sample_codes", "score_codes"]),
    ("Adapters", "hf_jukebox", ["load_adapter", "set_adapters", "merge_adapters", "unload_adapter"]),
    ("Sharing", "hf_jukebox", ["push_folder"]),
    ("Several processes", "hf_jukebox", ["device_of_process"]),
    ("Codes of the published implementation", "hf_jukebox", ["read_published_codes"]),
    ("Conversion", "hf_jukebox.convert", None),
    ("The listening page", "hf_jukebox.report", None),
    ("Audio files", "hf_jukebox.audio", None),
    ("Training data", "hf_jukebox.training.data", None),
]


def write(folder: Path) -> None:
    """Write the pages; one that has not changed is left alone, so that the site is not built again."""
    tree = command_tree()
    _write(folder / "command-line.json", json.dumps(tree, indent=2) + "\n")
    _write(folder / "command-line.md", "\n".join(_command_page(tree)))
    _write(folder / "training-options.md", "\n".join(_training_page()))
    _write(folder / "api.md", "\n".join(_api_page()))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = (folder.parents[1] / name).read_text("utf-8")
        _write(folder / name.lower(), re.sub(r"\]\(docs/", "](../", text))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, encoding="utf-8")


def command_tree() -> Command:
    """Return the commands with their arguments and options, as plain data."""
    from hf_jukebox.cli import app

    root = _command("hf-jukebox", typer.main.get_command(app))
    return {"version": hf_jukebox.__version__, **root}


def _command(name: str, command: Any) -> Command:
    types = get_type_hints(command.callback) if command.callback else {}
    # The options that typer adds, for completion, are flags.
    parameters = [_parameter(each, types.get(each.name, bool)) for each in command.params if each.name != "help"]
    result: Command = {"name": name, "help": _plain(command.help or "")}
    subcommands = getattr(command, "commands", None)
    if subcommands:
        result["commands"] = [_command(f"{name} {key}", each) for key, each in subcommands.items()]
    if name in TRAINING:
        parameters = [_option(option) for group in TRAINING[name]() for option in fields(group)]
    if parameters:
        result["parameters"] = parameters
    return result


def _parameter(parameter: Any, annotation: Any) -> dict[str, Any]:
    is_option = any(name.startswith("-") for name in parameter.opts)
    default = parameter.default
    return {
        "names": list(parameter.opts) if is_option else [(parameter.metavar or parameter.name).strip("[].")],
        "kind": "option" if is_option else "argument",
        "type": _type(annotation),
        "required": bool(parameter.required),
        "multiple": bool(getattr(parameter, "multiple", False)) or parameter.nargs == -1,
        "default": default if isinstance(default, str | int | float | bool) else getattr(default, "value", None),
        "help": _plain(getattr(parameter, "help", "") or ""),
    }


def _type(annotation: Any) -> str:
    (kind,) = {*get_args(annotation)} - {NoneType} if isinstance(annotation, UnionType) else (annotation,)
    name = re.sub(r"pathlib\.", "", str(kind) if get_args(kind) else kind.__name__)
    return {"bool": "flag", "str": "text", "list[Path]": "paths", "list[str]": "texts"}.get(name, name.lower())


def _option(option: Any) -> dict[str, Any]:
    default = None if option.default is MISSING else option.default
    return {
        "names": [f"--{option.name}"],
        "kind": "option",
        "type": str(option.type).replace(" | None", ""),
        "required": option.default is MISSING,
        "multiple": False,
        "default": default,
        "help": option.metadata["help"],
    }


def _plain(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text.strip())


def _training_groups() -> tuple[list[Any], list[Any], list[Any]]:
    from hf_jukebox.training.arguments import LoopArguments
    from hf_jukebox.training.data import DataArguments
    from hf_jukebox.training.encode import EncodeArguments
    from hf_jukebox.training.prior_arguments import PriorArguments
    from hf_jukebox.training.train_vqvae import VQVAEArguments

    return (
        [VQVAEArguments, DataArguments, LoopArguments],
        [PriorArguments, DataArguments, LoopArguments],
        [EncodeArguments],
    )


TRAINING = {
    "hf-jukebox train vqvae": lambda: _training_groups()[0],
    "hf-jukebox train prior": lambda: _training_groups()[1],
    "hf-jukebox encode": lambda: _training_groups()[2],
}


def _command_page(tree: Command) -> Iterator[str]:
    yield "# Command line\n"
    yield (
        "Every command has `--help`. Wrong input ends with one line on stderr and exit status 2, Ctrl-C with 130 after "
        "the state is saved. The same list for programs: {download}`command-line.json`.\n"
    )
    for command in _flat(tree):
        yield f"## `{command['name']}`\n"
        yield f"{command['help']}\n"
        if command["name"] in TRAINING:
            yield "Its options are on [a page of their own](training-options.md).\n"
        elif command.get("parameters"):
            yield from _table(command["parameters"])


def _flat(command: Command) -> Iterator[Command]:
    if "commands" not in command:
        yield command
    for each in command.get("commands", []):
        yield from _flat(each)


def _table(parameters: list[dict[str, Any]]) -> Iterator[str]:
    yield "| option | | default |"
    yield "|---|---|---|"
    for each in parameters:
        names = ", ".join(f"`{name}`" for name in each["names"])
        value = (
            "required" if each["required"] else "" if each["default"] in (None, False, "") else f"`{each['default']}`"
        )
        kind = "" if each["type"] in ("flag", "boolean", "bool") else f" *{each['type']}*"
        yield f"| {names}{kind} | {_cell(each['help'])} | {value} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;").replace("*", r"\*").replace("\\n", "`\\n`")


def _training_page() -> Iterator[str]:
    yield "# Options of training\n"
    yield (
        "Options of `hf-jukebox train vqvae`, `hf-jukebox train prior` and `hf-jukebox encode`. "
        "`--config FILE.yaml` reads any of them from a file, one `name: value` per line; the command line takes "
        "precedence. [Training](../training.md) explains how they work together.\n"
    )
    vqvae, prior, encode = _training_groups()
    for title, group in (
        ("The VQ-VAE", vqvae[0]),
        ("The prior", prior[0]),
        ("The songs and their chunks", vqvae[1]),
        ("The training loop", vqvae[2]),
        ("Encoding", encode[0]),
    ):
        yield f"## {title}\n"
        yield from _table([_option(option) for option in fields(group)])


def _api_page() -> Iterator[str]:
    yield "# Python\n"
    yield (
        "The public names, with shapes, units and errors. All that these pages import from `hf_jukebox` is here. "
        "Level 0 is the finest, the last level is the top, and lists are finest first. Methods that models and "
        "pipelines inherit, such as `from_pretrained`, `save_pretrained` and `to`, are those of transformers and "
        "diffusers.\n"
    )
    listed = {name for _, module, names in API for name in names or [] if module == "hf_jukebox"}
    others = [name for name in hf_jukebox.__all__ if name not in listed and not name.startswith("DEMO_")]
    for title, module, names in [*API, ("More", "hf_jukebox", others)] if others else API:
        yield f"## {title}\n"
        if module != "hf_jukebox":
            yield f"From `{module}`.\n"
        yield "```{eval-rst}"
        for name in names or sorted(import_module(module).__all__):
            yield from _directive(module, name)
        yield "```\n"


def _directive(module: str, name: str) -> Iterator[str]:
    value = getattr(import_module(module), name)
    if isinstance(value, type):
        yield f".. autoclass:: {module}.{name}"
        if module == "hf_jukebox":
            yield "   :members:"
            if name == "JukeboxPipeline":
                yield "   :special-members: __call__"
                yield "   :inherited-members: DiffusionPipeline, ConfigMixin, PushToHubMixin"
        yield ""
    elif callable(value):
        yield f".. autofunction:: {module}.{name}\n"
    else:
        yield f".. autodata:: {module}.{name}\n   :no-value:\n"
