"""Transformers of one block, to compare its kernels with its operators."""

import torch

from helpers.random_priors import randomize
from hf_jukebox.layers.attention import AttentionKind, AttentionShape
from hf_jukebox.layers.transformer import Transformer, TransformerBlock, TransformerShape


class OneBlock(Transformer):
    """A transformer of one block of a given kind, with random weights."""

    def __init__(self, kind: AttentionKind, shape: AttentionShape, mlp_width: int) -> None:
        scales_residual = kind == AttentionKind.COLUMN
        super().__init__(TransformerShape(shape, depth=3, order=2, mlp_width=mlp_width, res_scale=scales_residual))
        self.kinds, self.blocks = [kind], torch.nn.ModuleList([TransformerBlock(self.shape, kind)])
        randomize(self)

    def in_precision(self, precision: str) -> "OneBlock":
        """Convert the weights; see `convert_layers`."""
        convert_layers(self, precision)
        return self


def convert_layers(transformer: Transformer, precision: str) -> None:
    """Convert the weights to a floating-point type, quantise them to "int8", or both: "int8 of bfloat16"."""
    dtype = {"int8": "float32", "int8 of bfloat16": "bfloat16"}.get(precision, precision)
    for layer in transformer.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.to(getattr(torch, dtype))
    if precision.startswith("int8"):
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(transformer, Int8WeightOnlyConfig())
