"""Run as a program: steps of a block by Triton's interpreter, on the CPU, beside those of the block's operators.

Prints a JSON object of the largest differences per kind of attention, and whether each row alone has the same bits. It
is a process of its own because Triton chooses its interpreter when it is imported.
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace

os.environ["TRITON_INTERPRET"] = "1"

import torch
import triton.language as tl

from helpers.one_block import OneBlock
from hf_jukebox.layers import batch_kernel, fused_cuda
from hf_jukebox.layers.attention import AttentionKind, AttentionShape, StepPosition
from hf_jukebox.layers.fused_cuda_batch import read_batch_blocks
from hf_jukebox.layers.transformer import FusedSteps

SHAPE = AttentionShape(width=32, state=16, heads=2, rows=8, positions=64, num_lyrics=20)
ONE_HEAD = replace(SHAPE, heads=1)
# Several programs, parts and passes for layers so small.
SIZES = {"_SHORT": 16, "_LONG_BLOCK": 16, "_WEIGHTS_PER_PROGRAM": 256}
SIZES |= {"_JOINED_WEIGHTS_PER_PROGRAM": 256, "_KEYS_PER_PROGRAM": 32}
BATCH_SIZES = {"_WARPS": 2, "_INPUTS": 64, "_MAX_STATE": 32}


def read_few(transformer: OneBlock, caches: list[torch.Tensor]) -> FusedSteps:
    return fused_cuda.read_blocks(transformer)


def compare(
    kind: AttentionKind,
    precision: str,
    rows: int,
    shape: AttentionShape = SHAPE,
    read: Callable[[OneBlock, list[torch.Tensor]], FusedSteps] = read_few,
) -> dict[str, float | bool]:
    transformer = OneBlock(kind, shape, mlp_width=32).in_precision(precision)
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(shape.positions)[None]
    caches = [cache.normal_(generator=generator) for cache in transformer.init_caches(rows, torch.device("cpu"))]

    def step(x: torch.Tensor, at: StepPosition, caches: list[torch.Tensor]) -> torch.Tensor:
        return transformer.step(x, at, caches, read(transformer, caches))

    differences, same_alone = [], True
    for position in (0, 37):
        at = StepPosition.at(torch.tensor([position]), index, shape)
        x = torch.randn(rows, 1, shape.width, generator=generator)
        together = step(x, at, [cache.clone() for cache in caches])
        for row in range(rows) if rows > 1 else ():
            alone = [cache[:, row : row + 1].clone() for cache in caches]
            same_alone &= torch.equal(step(x[row : row + 1], at, alone), together[row : row + 1])
        expected = [cache.clone() for cache in caches]
        pairs = [(transformer.step(x, at, expected), step(x, at, caches)), (*expected, *caches)]
        differences += [float((a - b).abs().max()) for a, b in pairs]
    return {"difference": max(differences), "same alone": same_alone}


def main() -> None:
    for name, size in SIZES.items():
        setattr(fused_cuda, name, size)
    for name, size in BATCH_SIZES.items():
        setattr(batch_kernel, name, tl.constexpr(size))
    with torch.inference_mode():
        cases = {f"{kind.name} float32": compare(kind, "float32", 1) for kind in AttentionKind}
        several_rows = (AttentionKind.DENSE, AttentionKind.COLUMN, AttentionKind.PREVIOUS_ROW)
        cases |= {f"{kind.name} float16": compare(kind, "float16", 2) for kind in several_rows}
        cases |= {"ROW int8": compare(AttentionKind.ROW, "int8", 1)}
        of_batch = ((AttentionKind.ROW, "float32", 3), (AttentionKind.COLUMN, "float16", 5))
        for kind, precision, rows in (*of_batch, (AttentionKind.PREVIOUS_ROW, "float32", 3)):
            case = compare(kind, precision, rows, ONE_HEAD, read_batch_blocks)
            cases |= {f"{kind.name} {precision} of a batch": case}
    print(json.dumps(cases))


if __name__ == "__main__":
    main()
