"""Names of our tensors in the two existing checkpoint layouts.

Names are looked up from our side: each tensor of a model has one name in a file. So all names of a file are known
before it is read, and errors name missing and extra tensors as the file does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Layout = Literal["openai", "transformers"]


class _Index(int):
    """Index in one of our names, with its counterparts in layouts where stacks and convolutions share one list."""

    @property
    def next(self) -> int:
        return self + 1

    @property
    def even(self) -> int:
        return 2 * self

    @property
    def odd(self) -> int:
        return 2 * self + 1


def _transformer(ours: str, theirs: str) -> dict[str, tuple[str, str]]:
    """Return the names of a transformer's blocks, of the prior itself or of its lyrics encoder."""
    rows = {
        "norm1": ("ln_0", "layer_norm_0"),
        "attn.qkv_proj": ("attn.c_attn", "attn.c_attn"),
        "attn.q_proj": ("attn.c_attn", "attn.c_attn"),
        "attn.kv_proj": ("attn.c_enc_kv", "attn.c_enc_kv"),
        "attn.out_proj": ("attn.c_proj", "attn.c_proj"),
        "norm2": ("ln_1", "layer_norm_1"),
        "mlp.fc1": ("mlp.c_fc", "mlp.c_fc"),
        "mlp.fc2": ("mlp.c_proj", "mlp.c_proj"),
    }
    blocks = f"{theirs}.transformer._attn_mods.{{0}}."
    encoder = blocks.replace("prime_prior", "encoder")
    return {
        f"{ours}transformer.blocks.{{}}.{name}": (blocks + openai, encoder + transformers)
        for name, (openai, transformers) in rows.items()
    }


# Our name, then those of OpenAI's code and of transformers 4, without `.weight` and `.bias`. `{}` is an index of ours,
# `{0}`, `{1}` ... are these in order, and `{downs}` is the number of convolutions in a stage of the VQ-VAE.
_NAMES: dict[str, tuple[str, str]] = {
    # VQ-VAE
    "encoders.{}.stages.{}.convs.{}": (
        "encoders.{0}.level_blocks.{1}.model.{2}.0",
        "encoders.{0}.level_blocks.{1}.downsample_block.{2.even}",
    ),
    "encoders.{}.stages.{}.stacks.{}.{}.conv1": (
        "encoders.{0}.level_blocks.{1}.model.{2}.1.model.{3}.model.1",
        "encoders.{0}.level_blocks.{1}.downsample_block.{2.odd}.resnet_block.{3}.conv1d_1",
    ),
    "encoders.{}.stages.{}.stacks.{}.{}.conv2": (
        "encoders.{0}.level_blocks.{1}.model.{2}.1.model.{3}.model.3",
        "encoders.{0}.level_blocks.{1}.downsample_block.{2.odd}.resnet_block.{3}.conv1d_2",
    ),
    "encoders.{}.stages.{}.proj_out": (
        "encoders.{0}.level_blocks.{1}.model.{downs}",
        "encoders.{0}.level_blocks.{1}.proj_out",
    ),
    "decoders.{}.stages.{}.proj_in": (
        "decoders.{0}.level_blocks.{1}.model.0",
        "decoders.{0}.level_blocks.{1}.proj_in",
    ),
    "decoders.{}.stages.{}.stacks.{}.{}.conv1": (
        "decoders.{0}.level_blocks.{1}.model.{2.next}.0.model.{3}.model.1",
        "decoders.{0}.level_blocks.{1}.upsample_block.{2.even}.resnet_block.{3}.conv1d_1",
    ),
    "decoders.{}.stages.{}.stacks.{}.{}.conv2": (
        "decoders.{0}.level_blocks.{1}.model.{2.next}.0.model.{3}.model.3",
        "decoders.{0}.level_blocks.{1}.upsample_block.{2.even}.resnet_block.{3}.conv1d_2",
    ),
    "decoders.{}.stages.{}.convs.{}": (
        "decoders.{0}.level_blocks.{1}.model.{2.next}.1",
        "decoders.{0}.level_blocks.{1}.upsample_block.{2.odd}",
    ),
    "decoders.{}.out": ("decoders.{0}.out", "decoders.{0}.out"),
    "quantizers.{}.codebook": ("bottleneck.level_blocks.{0}.k", "bottleneck.level_blocks.{0}.codebook"),
    # Priors
    "token_embedding": ("prior.x_emb", "prior.embed_tokens"),
    "position_embedding": ("prior.pos_emb.pos_emb", "prior.pos_emb.pos_emb"),
    "start_embedding": ("prior.start_token", "prior.start_token"),
    **_transformer("", "prior"),
    "head": ("prior.x_out", "prior.fc_proj_out"),
    "label_embedding.artist": ("y_emb.artist_emb.emb", "metadata_embedding.artist_emb"),
    "label_embedding.genre": ("y_emb.bow_genre_emb.emb", "metadata_embedding.bow_genre_emb"),
    "timing_embedding.total_length": (
        "y_emb.total_length_emb.emb",
        "metadata_embedding.total_length_emb.emb",
    ),
    "timing_embedding.absolute_position": (
        "y_emb.absolute_pos_emb.emb",
        "metadata_embedding.absolute_pos_emb.emb",
    ),
    "timing_embedding.relative_position": (
        "y_emb.relative_pos_emb.emb",
        "metadata_embedding.relative_pos_emb.emb",
    ),
    "conditioner.embedding": ("conditioner_blocks.0.x_emb", "conditioner_blocks.embed_tokens"),
    "conditioner.upsampler.proj_in": (
        "conditioner_blocks.0.cond.model.0",
        "conditioner_blocks.upsampler.proj_in",
    ),
    "conditioner.upsampler.stacks.{}.{}.conv1": (
        "conditioner_blocks.0.cond.model.{0.next}.0.blocks.{1}.model.1",
        "conditioner_blocks.upsampler.upsample_block.{0.even}.resnet_block.{1}.conv1d_1",
    ),
    "conditioner.upsampler.stacks.{}.{}.conv2": (
        "conditioner_blocks.0.cond.model.{0.next}.0.blocks.{1}.model.3",
        "conditioner_blocks.upsampler.upsample_block.{0.even}.resnet_block.{1}.conv1d_2",
    ),
    "conditioner.upsampler.convs.{}": (
        "conditioner_blocks.0.cond.model.{0.next}.1",
        "conditioner_blocks.upsampler.upsample_block.{0.odd}",
    ),
    "conditioner.norm": ("conditioner_blocks.0.ln", "conditioner_blocks.layer_norm"),
    "lyrics_encoder.token_embedding": ("prime_prior.x_emb", "encoder.embed_tokens"),
    "lyrics_encoder.position_embedding": ("prime_prior.pos_emb.pos_emb", "encoder.pos_emb.pos_emb"),
    "lyrics_encoder.start_embedding": ("prime_prior.start_token", "encoder.start_token"),
    **_transformer("lyrics_encoder.", "prime_prior"),
    "lyrics_encoder.proj": ("prime_state_proj", "encoder.proj_in"),
    "lyrics_encoder.norm": ("prime_state_ln", "encoder.final_layer_norm"),
    "lyrics_head": ("prime_x_out", "encoder.lm_head"),
}

# Linear layers that both layouts store `[in, out]`; the output matrices over codes and characters are not among them.
_LINEAR = re.compile(r"(attn\.\w+_proj|mlp\.fc[12]|lyrics_encoder\.proj)\.(weight|bias)")


def is_transposed(name: str) -> bool:
    """Return True if both layouts store our tensor `name` transposed."""
    return name.endswith(".weight") and _LINEAR.search(name) is not None


def name_in_file(name: str, layout: Layout, downs_t: Sequence[int]) -> str:
    """Return the name of our tensor `name` in a file of `layout`, without the prefix of its model.

    Args:
        downs_t: Setting of the VQ-VAE; a prior's names do not depend on it.
    """
    module, _, leaf = name.rpartition(".")
    if leaf not in ("weight", "bias"):
        module, leaf = name, ""
    if layout == "openai" and _LINEAR.search(name):
        leaf = leaf[0]
    indices = [_Index(index) for index in re.findall(r"(?<=\.)\d+", module)]
    row = _NAMES[re.sub(r"(?<=\.)\d+", "{}", module)]
    downs = downs_t[indices[1]] if module.endswith("proj_out") else 0
    template = row[0] if layout == "openai" else row[1]
    return ".".join(filter(None, (template.format(*indices, downs=downs), leaf)))
