"""The architecture of the package, checked on the imports and calls of every source file."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

PACKAGE = "hf_jukebox"
SRC = Path(__file__).parents[1] / "src" / PACKAGE

# A part may import parts of its own layer and of the layers before it in this list; add new modules here.
LAYERS = [
    [
        "presets",
        "lazy_names",
        "registration",
        "allocator",
        "hardware",
        "layers",
        "configuration_*",
        "files",
        "console",
    ],
    ["audio", "sharing"],
    ["loading"],
    ["labels", "tokenization_jukebox", "modeling_*"],
    ["hierarchy", "memory", "adapters", "adapter_state"],
    ["catalogue"],
    ["sampling"],
    ["report", "convert"],
    ["runs"],
    ["training"],
    ["sampler", "push", "pipeline_*", "study"],
    ["train_vqvae", "train_prior", "encode"],
    ["app"],
    ["cli", "__main__"],
]
COMPUTE = ["layers", "modeling_*", "sampling"]
CONFIGURATION = {"configuration_jukebox", "presets"}
DISK = {"glob", "io", "json", "os", "pathlib", "pickle", "safetensors", "shutil", "tempfile", "yaml"}
SCRIPTS = {"examples", "benchmarks", "tests"}
# Arguments of the Python interface that have an option each, and are no English words.
UNDERSCORED = [
    *("audio_length_in_s", "prompt_length_in_s", "total_length_in_s", "offset_in_s", "longest_in_s", "hop_fraction"),
    *("num_waveforms_per_prompt", "max_batch_size", "output_dir", "low_memory", "top_k", "top_p"),
]

FILES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SRC.rglob("*.py"))
    if path != SRC / "__init__.py"  # imports lazily, and no module imports it
}


def imports(module: str) -> Iterator[str]:
    """Yield the absolute name of each import of a module, anywhere in the file: a.b or a for `from .a import b`."""
    parents = [PACKAGE, *module.split(".")]
    if FILES[module].name != "__init__.py":
        parents.pop()
    for node in ast.walk(ast.parse(FILES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{source}.{alias.name}"
                yield name if name.removeprefix(f"{PACKAGE}.") in FILES else source


def own_imports(module: str) -> set[str]:
    """Return the modules of the package that a module imports, without the package's name ('' for the package)."""
    names = [name for name in imports(module) if name.split(".")[0] == PACKAGE]
    return {name.removeprefix(PACKAGE).removeprefix(".") for name in names}


def layer(module: str) -> int:
    """Return the index of a module's layer."""
    part = module.split(".")[0]
    for number, parts in enumerate(LAYERS):
        if any(fnmatch(part, pattern) for pattern in parts):
            return number
    pytest.fail(f"{part} has no layer yet; add it to LAYERS in {__file__}.")


def in_parts(module: str, patterns: list[str]) -> bool:
    return any(fnmatch(module.split(".")[0], pattern) for pattern in patterns)


@pytest.mark.parametrize("module", FILES)
def test_imports_run_one_way(module):
    own, own_layer = own_imports(module), layer(module)
    upwards = {name for name in own if name and layer(name) > own_layer}
    assert not upwards, f"{module} must not import {sorted(upwards)}: they belong to higher layers"
    assert "" not in own or module.startswith("cli."), f"{module} must import names from the module that defines them"
    assert not SCRIPTS & {name.split(".")[0] for name in imports(module)}


def test_modules_do_not_import_each_other_in_a_circle():
    waiting = {module: own_imports(module) - {"", module} for module in FILES}
    while waiting:
        ready = {module for module, needs in waiting.items() if not needs & waiting.keys()}
        assert ready, f"these modules import each other in a circle: {sorted(waiting)}"
        waiting = {module: needs for module, needs in waiting.items() if module not in ready}


@pytest.mark.parametrize("module", [module for module in FILES if in_parts(module, ["layers"])])
def test_layers_import_neither_configurations_nor_disk_access(module):
    assert not own_imports(module) & CONFIGURATION
    assert not {name.split(".")[0] for name in imports(module)} & DISK


@pytest.mark.parametrize("module", [module for module in FILES if in_parts(module, COMPUTE)])
def test_models_and_sampling_neither_print_nor_open_files_nor_keep_globals(module):
    for node in ast.walk(ast.parse(FILES[module].read_text("utf-8"))):
        assert not isinstance(node, ast.Global), f"{module}, line {node.lineno}: global state"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "open"}, f"{module}, line {node.lineno}: {node.func.id}()"


@pytest.mark.parametrize("module", [module for module in FILES if not in_parts(module, ["cli", "training", "console"])])
def test_errors_have_arguments_in_backticks_for_the_command_line_to_replace(module):
    for raised in ast.walk(ast.parse(FILES[module].read_text("utf-8"))):
        if isinstance(raised, ast.Raise):
            texts = [part.value for part in ast.walk(raised) if isinstance(part, ast.Constant)]
            bare = re.findall(rf"(?<![`\w])(?:{'|'.join(UNDERSCORED)})\b", " ".join(map(str, texts)))
            assert not bare, f"{module}, line {raised.lineno}: write `{bare[0]}`"
