"""Published models as plain tables: every number in which the presets differ.

`JukeboxVQVAEConfig.from_preset` and `JukeboxPriorConfig.from_preset` read these. The `tiny_*` presets are ours, for
tests and first tries.
"""

from __future__ import annotations

import string
from typing import Any

# Characters of the lyrics, with ids from 1 in this order; 0 is the unknown character and the padding.
ALPHABET_V2 = string.ascii_uppercase + string.ascii_lowercase + string.digits + ".,:;!?-+'\"()[] \t\n"
ALPHABET_V3 = ALPHABET_V2.replace("+", "")

VQVAE_PRESETS: dict[str, dict[str, Any]] = {
    "5b": {},  # the defaults of JukeboxVQVAEConfig are the released VQ-VAE
    "small_vqvae": {
        "sampling_rate": 22050,
        "downs_t": [5, 3],
        "strides_t": [2, 2],
        "codebook_size": 1024,
        "multipliers": [1, 1],
        "reconstruction_loss": "l2",
    },
    "tiny_vqvae": {
        "sampling_rate": 22050,
        "codebook_size": 64,
        "codebook_dim": 16,
        "width": 8,
        "depth": 2,
        "multipliers": [1, 1, 1],
        "linf_top_k": 256,
    },
}

# Level of a prior, raw samples per code, and, where they differ from the defaults, sampling rate and codebook.
_TOP = {"level": 2, "hop_length": 128}
_SMALL_TOP = {"level": 1, "hop_length": 256, "sampling_rate": 22050, "codebook_size": 1024}
_TINY_TOP = {"level": 2, "hop_length": 128, "sampling_rate": 22050, "codebook_size": 64}

_V2_LABELS = {"label_rules": "v2", "num_genres": 120, "num_artists": 4111, "num_time_bins": 128, "genre_words": 5}
_V3_LABELS = {"label_rules": "v3", "num_genres": 604, "num_artists": 7898, "num_time_bins": 64, "genre_words": 1}
_SMALL_LABELS = _V3_LABELS | {"num_genres": 10, "num_artists": 100}
_TINY_LABELS = _SMALL_LABELS | {"num_time_bins": 16, "min_duration": 1.0}

_JOINT_LYRICS = {
    "lyrics_scheme": "joint",
    "alphabet": ALPHABET_V3,
    "n_lyrics": 384,
    "lyrics_loss_fraction": 0.4,
}
_SEPARATE_LYRICS = {"lyrics_scheme": "separate", "lyrics_loss_fraction": 0.4}

_LARGE = {"n_ctx": 8192, "hidden_size": 4800, "num_attention_heads": 8, "attention_blocks": 128, "merged_decoder": True}
_SMALL = {"n_ctx": 8192, "hidden_size": 1024, "num_hidden_layers": 48, "attention_blocks": 64, "init_scale": 0.7}
_TINY = {"n_ctx": 64, "hidden_size": 32, "num_hidden_layers": 3, "attention_blocks": 8, "init_scale": 0.7}

_UPSAMPLER = {
    "n_ctx": 8192,
    "hidden_size": 1920,
    "num_hidden_layers": 72,
    "num_attention_heads": 1,
    "attention_order": 2,
    "attention_blocks": 128,
    "init_scale": 0.4,
    "upsampling_strides": [2, 2],
} | _V2_LABELS

PRIOR_PRESETS: dict[str, dict[str, Any]] = {
    "upsampler_level_0": _UPSAMPLER | {"level": 0, "hop_length": 8},
    "upsampler_level_1": _UPSAMPLER | {"level": 1, "hop_length": 32, "conditioner_res_scale": True},
    "prior_5b": _TOP | _LARGE | _V2_LABELS | {"num_hidden_layers": 72, "attention_order": 2, "init_scale": 0.1},
    "prior_5b_lyrics": _TOP
    | _LARGE
    | _V2_LABELS
    | _SEPARATE_LYRICS
    | {
        "num_hidden_layers": 79,
        "attention_order": 10,
        "init_scale": 0.1,
        "min_duration": 23.8,
        "alphabet": ALPHABET_V2,
        "n_lyrics": 512,
        "lyrics_hidden_size": 1280,
        "lyrics_num_hidden_layers": 18,
        "lyrics_num_attention_heads": 4,
        "lyrics_attention_blocks": 32,
        "lyrics_init_scale": 0.7,
        "alignment_layer": 68,
        "alignment_head": 2,
    },
    "prior_1b_lyrics": _TOP
    | _V3_LABELS
    | _JOINT_LYRICS
    | {
        "n_ctx": 6144,
        "hidden_size": 2048,
        "num_hidden_layers": 72,
        "num_attention_heads": 2,
        "attention_order": 12,
        "attention_blocks": 64,
        "init_scale": 0.2,
        "min_duration": 17.84,
        "alignment_layer": 63,
        "alignment_head": 0,
    },
    "small_prior": _SMALL_TOP | _SMALL,
    "small_labelled_prior": _SMALL_TOP | _SMALL | _SMALL_LABELS,
    "small_single_enc_dec_prior": _SMALL_TOP
    | _SMALL
    | _SMALL_LABELS
    | _JOINT_LYRICS
    | {"n_ctx": 6144, "num_attention_heads": 2, "attention_order": 12},
    "small_sep_enc_dec_prior": _SMALL_TOP
    | _SMALL
    | _SMALL_LABELS
    | _SEPARATE_LYRICS
    | {
        "n_ctx": 6144,
        "num_hidden_layers": 50,
        "num_attention_heads": 2,
        "attention_order": 8,
        "alphabet": ALPHABET_V3,
        "n_lyrics": 384,
        "lyrics_hidden_size": 256,
        "lyrics_num_hidden_layers": 9,
        "lyrics_num_attention_heads": 2,
        "lyrics_attention_blocks": 32,
        "lyrics_init_scale": 0.7,
    },
    "small_upsampler": _SMALL
    | {
        "level": 0,
        "hop_length": 32,
        "sampling_rate": 22050,
        "codebook_size": 1024,
        "upsampling_strides": [2, 2, 2],
        "conditioner_width": 512,
    },
    "tiny_prior": _TINY_TOP | _TINY,
    "tiny_labelled_prior": _TINY_TOP | _TINY | _TINY_LABELS,
    "tiny_lyrics_prior": _TINY_TOP
    | _TINY
    | _TINY_LABELS
    | _SEPARATE_LYRICS
    | {
        "num_hidden_layers": 10,
        "num_attention_heads": 2,
        "attention_order": 8,
        "alphabet": ALPHABET_V3,
        "n_lyrics": 32,
        "lyrics_hidden_size": 16,
        "lyrics_num_hidden_layers": 3,
        "lyrics_num_attention_heads": 2,
        "lyrics_attention_blocks": 4,
        "lyrics_init_scale": 0.7,
    },
    "tiny_upsampler": _TINY
    | {
        "level": 0,
        "hop_length": 8,
        "sampling_rate": 22050,
        "codebook_size": 64,
        "upsampling_strides": [2, 2],
        "conditioner_width": 16,
        "conditioner_depth": 4,
        "conditioner_dilation_cycle": 2,
    },
}
