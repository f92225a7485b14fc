"""Run as a program: steps of a block by Triton's interpreter, on the CPU, beside those of the block's operators.

Prints a JSON object of the largest differences per kind of attention, and whether each row alone has the same bits. It
is a process of its own because Triton chooses its interpreter when it is imported.
"""

import json
import os

os.environ["TRITON_INTERPRET"] = "1"

import torch

from helpers.one_block import OneBlock
from hf_jukebox.layers import fused_cuda
from hf_jukebox.layers.attention import AttentionKind, AttentionShape, StepPosition

SHAPE = AttentionShape(width=32, state=16, heads=2, rows=8, positions=64, num_lyrics=20)
# Several programs, parts and passes for layers so small.
SIZES = {"_SHORT": 16, "_LONG_BLOCK": 16, "_WEIGHTS_PER_PROGRAM": 256}
SIZES |= {"_JOINED_WEIGHTS_PER_PROGRAM": 256, "_KEYS_PER_PROGRAM": 32}


def compare(kind: AttentionKind, precision: str, rows: int) -> dict[str, float | bool]:
    transformer = OneBlock(kind, SHAPE, mlp_width=32).in_precision(precision)
    generator = torch.Generator().manual_seed(0)
    fused = fused_cuda.read_blocks(transformer)
    index = torch.arange(SHAPE.positions)[None]
    caches = [cache.normal_(generator=generator) for cache in transformer.init_caches(rows, torch.device("cpu"))]
    differences, same_alone = [], True
    for position in (0, 37):
        at = StepPosition.at(torch.tensor([position]), index, SHAPE)
        x = torch.randn(rows, 1, SHAPE.width, generator=generator)
        for row in range(rows) if rows > 1 else ():
            alone = [cache[:, row : row + 1].clone() for cache in caches]
            same_alone &= torch.equal(
                transformer.step(x[row : row + 1], at, alone, fused),
                transformer.step(x, at, [cache.clone() for cache in caches], fused)[row : row + 1],
            )
        expected = [cache.clone() for cache in caches]
        pairs = [(transformer.step(x, at, expected), transformer.step(x, at, caches, fused)), (*expected, *caches)]
        differences += [float((a - b).abs().max()) for a, b in pairs]
    return {"difference": max(differences), "same alone": same_alone}


def main() -> None:
    for name, size in SIZES.items():
        setattr(fused_cuda, name, size)
    with torch.inference_mode():
        cases = {f"{kind.name} float32": compare(kind, "float32", 1) for kind in AttentionKind}
        several_rows = (AttentionKind.DENSE, AttentionKind.COLUMN, AttentionKind.PREVIOUS_ROW)
        cases |= {f"{kind.name} float16": compare(kind, "float16", 2) for kind in several_rows}
        cases |= {"ROW int8": compare(AttentionKind.ROW, "int8", 1)}
    print(json.dumps(cases))


if __name__ == "__main__":
    main()
