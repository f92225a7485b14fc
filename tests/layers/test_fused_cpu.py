"""The kernels of a step on a CPU do what its operators do, and compute each row by itself."""

import itertools
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.failing_compiler import failing_compiler
from helpers.one_block import OneBlock
from helpers.random_priors import random_prior
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from hf_jukebox.layers.attention import AttentionKind, AttentionShape, StepPosition
from hf_jukebox.layers.fused_cpu import fuse
from hf_jukebox.layers.transformer import Transformer

# Sizes that are no multiples of the kernels' tiles and vectors, ones that are, and rows longer than their pieces.
ODD = AttentionShape(width=50, state=42, heads=2, rows=8, positions=64, num_lyrics=19)
EVEN = AttentionShape(width=128, state=128, heads=1, rows=8, positions=64, num_lyrics=24)
WIDE = AttentionShape(width=2150, state=42, heads=2, rows=8, positions=64, num_lyrics=19)
SHAPES = {"odd": ODD, "even": EVEN, "wide": WIDE}
TOLERANCE = {"float32": 1e-5, "int8": 1e-5, "bfloat16": 0.1, "int8 of bfloat16": 0.1}

pytestmark = pytest.mark.compiler


class Steps:
    """Steps of one block over a random cache, by kernels and by operators."""

    def __init__(self, kind: AttentionKind, precision: str, shape: AttentionShape, rows: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.shape, self.rows = shape, rows
        self.transformer = OneBlock(kind, shape, mlp_width=shape.width + 3).in_precision(precision)
        caches = self.transformer.init_caches(rows, torch.device("cpu"))
        self.caches = [cache.normal_(generator=generator) for cache in caches]
        self.x = torch.randn(rows, 1, shape.width, generator=generator)

    def run(self, position: int, rows: slice = slice(None), by_kernels: bool = True) -> tuple[torch.Tensor, ...]:
        """Return the output of a step and the cache after it."""
        x, caches = self.x[rows], [cache[:, rows].clone() for cache in self.caches]
        at = StepPosition.at(torch.tensor([position]), torch.arange(self.shape.positions)[None], self.shape)
        fused = fuse(self.transformer, len(x)) if by_kernels else None
        assert (fused is not None) == by_kernels
        return self.transformer.step(x, at, caches, fused), *caches


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize(
    ("kind", "shape"), [*itertools.product(AttentionKind, ("odd", "even")), (AttentionKind.ROW, "wide")]
)
def test_a_step_of_the_kernels_is_that_of_the_operators(kind: AttentionKind, shape: str, precision: str) -> None:
    for rows in (1, 11):
        steps = Steps(kind, precision, SHAPES[shape], rows)
        for position in (0, 37, steps.shape.positions - 1):
            for found, expected in zip(steps.run(position), steps.run(position, by_kernels=False), strict=True):
                torch.testing.assert_close(found, expected, atol=TOLERANCE[precision], rtol=TOLERANCE[precision])


@pytest.mark.parametrize("precision", TOLERANCE)
def test_adapters_are_added_to_the_weights_as_they_are_stored(precision: str) -> None:
    steps = Steps(AttentionKind.COLUMN, precision, ODD, 11)
    plain = steps.run(37)[0]
    adapt(steps.transformer, "a", rank=3)
    adapt(steps.transformer, "b", rank=2, scale=0.5)
    found, expected = steps.run(37), steps.run(37, by_kernels=False)
    for each, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(each, wanted, atol=TOLERANCE[precision], rtol=TOLERANCE[precision])
    assert (found[0] - plain).abs().max() > 0.1
    assert torch.equal(steps.run(37, slice(3, 5))[0], found[0][3:5])
    for layer in steps.transformer.modules():
        if isinstance(layer, LoraLayer):
            layer.enable_adapters(False)
    assert torch.equal(steps.run(37)[0], plain)


def adapt(model: torch.nn.Module, name: str, rank: int, **options: Any) -> None:
    """Put a random adapter onto a model, as `JukeboxPipeline.load_lora_weights` does."""
    scale = options.pop("scale", 1.0)
    inject_adapter_in_model(LoraConfig(r=rank, target_modules=["fc1", "fc2", "out_proj"], **options), model, name)
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.lora_B[name].weight.normal_(std=0.3)
            layer.set_scale(name, scale)
            layer.set_adapter(list(layer.lora_A))


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_depends_on_neither_the_other_rows_nor_the_number_of_threads(shape: str, precision: str) -> None:
    steps = Steps(AttentionKind.ROW, precision, SHAPES[shape], 11)
    together, threads = steps.run(37)[0], torch.get_num_threads()
    try:
        for rows, num_threads in (
            (slice(0, 1), 1),
            (slice(2, 4), 3),
            (slice(3, 9), 3),
            (slice(9, 11), 2),
            (slice(0, 11), 4),
        ):
            torch.set_num_threads(num_threads)
            assert torch.equal(steps.run(37, rows)[0], together[rows])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize(
    ("kind", "shape"), [*itertools.product(AttentionKind, ("odd", "even")), (AttentionKind.ROW, "wide")]
)
def test_positions_of_one_song_at_once_have_the_bits_that_they_have_one_by_one(
    kind: AttentionKind, shape: str, precision: str
) -> None:
    num_rows, count = 8, 5
    steps, threads = Steps(kind, precision, SHAPES[shape], num_rows), torch.get_num_threads()
    index = torch.arange(steps.shape.positions)[None]
    fused = fuse(steps.transformer, num_rows)
    assert fused is not None
    for first in (0, 16, 59):  # within a row of columns
        one_by_one, at_once = ([cache[:, :1].clone() for cache in steps.caches] for _ in range(2))
        expected = []
        for row in range(count):
            at = StepPosition.at(torch.tensor([first + row]), index, steps.shape)
            expected.append(fused.step(steps.x[row : row + 1], at, one_by_one))
        positions = (first + torch.arange(num_rows)).clamp_max(steps.shape.positions - 1)
        at = StepPosition.at(positions, index, steps.shape, count=torch.tensor([count]))
        try:
            torch.set_num_threads(2 + first % 2)
            found = fused.step(steps.x, at, at_once)
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(found[:count], torch.cat(expected))
        assert torch.equal(found[count:], steps.x[count:])
        if kind != AttentionKind.JOINT_LYRICS:  # its positions beyond the lyrics share a slot that nobody reads
            assert torch.equal(at_once[0], one_by_one[0])


def transformer() -> Transformer:
    # One of its own: it may be changed, and its tensors are of inference mode.
    return random_prior.__wrapped__("folded").transformer


def test_weights_that_the_kernels_cannot_read_are_left_to_the_operators() -> None:
    mixed, other, adapted = transformer(), transformer(), transformer()
    assert fuse(mixed, 1) is not None
    mixed.blocks[0].mlp.fc1.bfloat16()
    other.blocks[1].mlp.fc1 = torch.nn.Sequential(other.blocks[1].mlp.fc1)  # type: ignore[assignment]
    adapt(adapted, "a", rank=2, use_dora=True)
    assert all(fuse(each, 1) is None for each in (mixed, other, adapted, transformer().half()))


def test_a_compiler_that_does_not_take_the_kernels_is_named_and_done_without(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with failing_compiler(tmp_path, "no vectors here"), caplog.at_level(logging.WARNING):
        assert fuse(transformer(), 1) is None
    assert "cannot be compiled" in caplog.text and "no vectors here" in caplog.text


def test_so_do_those_for_avx2() -> None:
    """In a process of its own, since PyTorch reads once which instructions to use."""
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "avx2", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "compiler", __file__]
    done = subprocess.run(
        [*command, "-k", "rows or operators or adapters or positions"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
