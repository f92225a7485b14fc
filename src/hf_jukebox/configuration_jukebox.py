"""Configurations of the VQ-VAE and of the priors."""

# Without `from __future__ import annotations`: `strict` checks types only where annotations are not strings.

import math
import os
import re
from functools import wraps
from typing import Any, Self, TypeVar

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from .configuration_checks import (
    check_alphabet,
    check_blocks,
    check_counts,
    check_entries,
    check_factor,
    check_hop,
    check_licence,
    check_numbers,
    check_residual_stack,
    check_table,
    read_settings_file,
)
from .layers.attention import ATTENTION_ORDERS, AttentionKind, attention_kinds
from .layers.conditioning import LabelColumns
from .presets import PRIOR_PRESETS, VQVAE_PRESETS

Config = TypeVar("Config", bound=PreTrainedConfig)


def _checked(cls: type[Config]) -> type[Config]:
    """Check types and `validate_...` methods as `strict` does, but raise plain ValueErrors of one sentence."""
    cls = strict(cls)
    strict_init = cls.__init__

    @wraps(strict_init)
    def __init__(self: Config, **settings: Any) -> None:
        try:
            strict_init(self, **settings)
        except StrictDataclassError as error:
            raise ValueError(f"{cls.__name__}: {_shortened(str(error.__cause__))}") from error

    cls.__init__ = __init__  # type: ignore[assignment, method-assign]
    return cls


def _shortened(message: str, most: int = 400) -> str:
    """Return a message without its middle if it is long: a quoted value may have any length."""
    half = most // 2
    return message if len(message) <= most else f"{message[:half]} ... {message[-half:]}"


class _JukeboxConfig(PreTrainedConfig):
    """A configuration that reads only its own settings from a file."""

    @classmethod
    def _dict_from_json_file(cls, json_file: str | os.PathLike[str]) -> dict[str, Any]:
        return read_settings_file(json_file, cls)


def _preset(table: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name not in table:
        raise ValueError(f"There is no preset {name!r}; choose one of {', '.join(sorted(table))}.")
    return table[name]


@_checked
class JukeboxVQVAEConfig(_JukeboxConfig):
    r"""Configuration of [`JukeboxVQVAE`]; the defaults are the VQ-VAE released with the `5b` models.

    All lists hold one entry per level, finest first.

    Args:
        sampling_rate: Samples per second of the mono audio.
        downs_t: Strided convolutions that a level adds to the one below it.
        strides_t: Stride of each of these convolutions; even.
        codebook_size: Codes per level.
        codebook_dim: Width of a codebook row, and of the encoder's output.
        width: Channels of the residual stacks, before `multipliers`.
        depth: Residual blocks in a stack, before `multipliers`.
        multipliers: Factor on `width` and `depth` for the autoencoder of each level.
        hidden_multiplier: Channels inside a residual block over its width.
        dilation_growth_rate: Dilation of residual block `d` is this to the power `d`.
        dilation_cycle: With a cycle `c`, the exponent is `d % c`.
        res_scale: Scale each residual by `1 / sqrt(depth)`.
        ema_decay: Decay of the running sums behind the codebook.
        restart_threshold: A row used less often than this (in running counts) restarts at a random encoder output.
        commit_weight, spectral_weight, multispectral_weight: Weights of the loss terms.
        reconstruction_loss: `"l1"`, `"l2"`, `"linf"`, or `"lmix"`, the weighted sum of the three.
        l1_weight, l2_weight, linf_weight: Weights of the parts of `"lmix"`.
        linf_top_k: Number of largest errors per item in the Linf term.
        l1_normalizer, l2_normalizer, spectral_normalizer: Divisors of the errors: mean magnitude, variance and norm of
            the spectrogram of the training data, measured before training.
        weights_license: Licence of the weights: an id of the Hub, or `"jukebox-noncommercial"` for those made from
            OpenAI's; None if it is not stated.
    """

    model_type = "jukebox_vqvae"

    sampling_rate: int = 44100
    downs_t: list[int] | tuple[int, ...] = (3, 2, 2)
    strides_t: list[int] | tuple[int, ...] = (2, 2, 2)
    codebook_size: int = 2048
    codebook_dim: int = 64
    width: int = 32
    depth: int = 4
    multipliers: list[int] | tuple[int, ...] = (2, 1, 1)
    hidden_multiplier: float | int = 1.0
    dilation_growth_rate: int = 3
    dilation_cycle: int | None = None
    res_scale: bool = False
    ema_decay: float | int = 0.99
    restart_threshold: float | int = 1.0
    commit_weight: float | int = 0.02
    spectral_weight: float | int = 0.0
    multispectral_weight: float | int = 1.0
    reconstruction_loss: str = "lmix"
    l1_weight: float | int = 0.0
    l2_weight: float | int = 1.0
    linf_weight: float | int = 0.02
    linf_top_k: int = 2048
    l1_normalizer: float | int = 1.0
    l2_normalizer: float | int = 1.0
    spectral_normalizer: float | int = 1.0

    weights_license: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        for name in ("downs_t", "strides_t", "multipliers"):
            setattr(self, name, list(getattr(self, name)))
        super().__post_init__(**kwargs)

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> Self:
        """Return the configuration of a published model (`"5b"`, `"small_vqvae"`) or of our `"tiny_vqvae"`.

        Raises:
            ValueError: there is no preset of that name.
        """
        return cls(**(_preset(VQVAE_PRESETS, name) | overrides))

    @property
    def num_levels(self) -> int:
        return len(self.downs_t)

    @property
    def hop_lengths(self) -> list[int]:
        """Raw samples per code, one entry per level, finest first."""
        hops, hop = [], 1
        for downs, stride in zip(self.downs_t, self.strides_t, strict=True):
            hop *= stride**downs
            hops.append(hop)
        return hops

    def validate_settings(self) -> None:
        """Raise a ValueError for settings that cannot be built; called by the constructor and before saving."""
        if not len(self.downs_t) == len(self.strides_t) == len(self.multipliers) > 0:
            raise ValueError(
                "downs_t, strides_t and multipliers need one entry per level each, but have "
                f"{len(self.downs_t)}, {len(self.strides_t)} and {len(self.multipliers)}."
            )
        check_entries(self, "downs_t")
        if any(stride < 2 or stride % 2 for stride in self.strides_t):
            raise ValueError(f"strides_t must be even, got {self.strides_t}.")
        if min(self.downs_t) < 1 or min(self.multipliers) < 1:
            raise ValueError(f"downs_t and multipliers must be at least 1, got {self.downs_t} and {self.multipliers}.")
        check_licence(self.weights_license)
        check_counts(self, "sampling_rate", "codebook_size", "codebook_dim", "width", "depth", "linf_top_k")
        check_counts(self, "downs_t", "strides_t", "multipliers")
        check_hop(self.strides_t, self.downs_t)
        check_factor("hidden_multiplier", self.hidden_multiplier, self.width)
        deepest = self.depth * max(self.multipliers)
        check_residual_stack("", deepest, self.dilation_growth_rate, self.dilation_cycle)
        stacks = 2 * sum(factor * sum(self.downs_t[: level + 1]) for level, factor in enumerate(self.multipliers))
        check_blocks("", self.depth * stacks)
        check_numbers(self, "ema_decay", "restart_threshold", "commit_weight", "spectral_weight")
        check_numbers(self, "multispectral_weight", "l1_weight", "l2_weight", "linf_weight")
        check_numbers(self, "l1_normalizer", "l2_normalizer", "spectral_normalizer")
        if self.reconstruction_loss not in ("l1", "l2", "linf", "lmix"):
            raise ValueError(f"reconstruction_loss must be l1, l2, linf or lmix, not {self.reconstruction_loss!r}.")


@_checked
class JukeboxPriorConfig(_JukeboxConfig):
    r"""Configuration of [`JukeboxPrior`], top prior or upsampler.

    Args:
        level: Level of the modelled codes, 0 the finest.
        sampling_rate, hop_length: Samples per second, and samples per code of this level, of the VQ-VAE.
        vqvae_fingerprint: Fingerprint of the VQ-VAE whose codes the prior was trained on, by which another one is
            refused; None if it is not known.
        codebook_size: Number of codes.
        n_ctx: Codes per window.
        hidden_size, num_hidden_layers, num_attention_heads: Width, depth and heads of the transformer.
        attention_order: Pattern of attention kinds over the layers; see [`~layers.attention.attention_kinds`].
        attention_blocks: Rows that a window is folded into.
        attention_multiplier, mlp_multiplier: Attention state and MLP width over `hidden_size`.
        res_scale: Divide both residuals of a layer by `num_hidden_layers`.
        init_scale: Factor on the standard deviations of the initial weights.
        merged_decoder: Untied output matrix and no conditioning after the last layer, as in the 5B models.
        upsampling_strides: Strides from the level above to this one; empty makes this a top prior.
        conditioner_width, conditioner_depth: Size of the convolutions over the codes of the level above.
        conditioner_dilation_growth_rate, conditioner_dilation_cycle, conditioner_res_scale: Their dilations and scale.
        label_rules: `"v2"` or `"v3"`, the spelling of names in `artists` and `genres`.
        num_artists, num_genres: Rows of the label tables; 0 artists makes a prior without labels.
        genre_words: Slots for genre ids in a label row.
        num_time_bins: Rows of the timing tables of a top prior.
        min_duration, max_duration: Shortest and longest song, in seconds, that the timing tables cover.
        artists, genres: Name to id; kept with the weights, so that ids always match the label tables.
        lyrics_scheme: `None`, `"separate"` (a lyrics encoder) or `"joint"` (lyrics and codes in one sequence).
        alphabet: Characters of the lyrics, ids from 1.
        n_lyrics: Characters per window.
        lyrics_loss_fraction: Weight of the lyrics' loss.
        lyrics_hidden_size, lyrics_num_hidden_layers, lyrics_num_attention_heads: Size of a separate encoder.
        lyrics_attention_order, lyrics_attention_blocks, lyrics_init_scale: Its patterns, rows and initial weights.
        alignment_layer, alignment_head: Layer and head whose attention follows the lyrics.
        weights_license: Licence of the weights, as in [`JukeboxVQVAEConfig`].
    """

    model_type = "jukebox_prior"

    level: int = 2
    sampling_rate: int = 44100
    hop_length: int = 128
    codebook_size: int = 2048
    n_ctx: int = 8192
    hidden_size: int = 1024
    num_hidden_layers: int = 48
    num_attention_heads: int = 1
    attention_order: int = 2
    attention_blocks: int = 64
    attention_multiplier: float | int = 0.25
    mlp_multiplier: float | int = 1.0
    res_scale: bool = False
    init_scale: float | int = 0.7
    merged_decoder: bool = False

    upsampling_strides: list[int] | tuple[int, ...] = ()
    conditioner_width: int = 1024
    conditioner_depth: int = 16
    conditioner_dilation_growth_rate: int = 3
    conditioner_dilation_cycle: int | None = 8
    conditioner_res_scale: bool = False

    label_rules: str = "v3"
    num_artists: int = 0
    num_genres: int = 0
    genre_words: int = 1
    num_time_bins: int = 64
    min_duration: float | int = 60.0
    max_duration: float | int = 600.0
    artists: dict[str, int] | None = None
    genres: dict[str, int] | None = None

    lyrics_scheme: str | None = None
    alphabet: str = ""
    n_lyrics: int = 0
    lyrics_loss_fraction: float | int = 0.0
    lyrics_hidden_size: int = 256
    lyrics_num_hidden_layers: int = 9
    lyrics_num_attention_heads: int = 2
    lyrics_attention_order: int = 2
    lyrics_attention_blocks: int = 32
    lyrics_init_scale: float | int = 0.7
    alignment_layer: int | None = None
    alignment_head: int | None = None

    vqvae_fingerprint: str | None = None
    weights_license: str | None = None

    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        self.upsampling_strides = list(self.upsampling_strides)
        self.tie_word_embeddings = not self.merged_decoder
        super().__post_init__(**kwargs)

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> Self:
        """Return the configuration of a published prior, such as `"prior_1b_lyrics"`, or of one of our `tiny_` ones.

        Raises:
            ValueError: there is no preset of that name.
        """
        return cls(**(_preset(PRIOR_PRESETS, name) | overrides))

    @property
    def is_upsampler(self) -> bool:
        return len(self.upsampling_strides) > 0

    @property
    def upsampling_ratio(self) -> int:
        """Codes of this level per code of the level above (1 for a top prior)."""
        return math.prod(self.upsampling_strides)

    @property
    def has_labels(self) -> bool:
        return self.num_artists > 0

    @property
    def has_timing(self) -> bool:
        """True for a labelled top prior, which is conditioned on the place of its window in the song."""
        return self.has_labels and not self.is_upsampler

    @property
    def window_length(self) -> int:
        """Raw samples in a window."""
        return self.n_ctx * self.hop_length

    @property
    def codes_per_second(self) -> float:
        return self.sampling_rate / self.hop_length

    @property
    def lyrics_vocab_size(self) -> int:
        return len(self.alphabet) + 1

    @property
    def num_joint_lyrics(self) -> int:
        """Lyric positions in front of the codes: `n_lyrics` in a one-sequence prior, else 0."""
        return self.n_lyrics if self.lyrics_scheme == "joint" else 0

    @property
    def label_columns(self) -> LabelColumns:
        """Columns of a label row."""
        return LabelColumns(self.genre_words, self.n_lyrics)

    @property
    def label_length(self) -> int:
        """Number of columns of a label row."""
        return self.label_columns.length

    def validate_settings(self) -> None:
        """Raise a ValueError for settings that cannot be built; called by the constructor and before saving."""
        check_counts(self, "sampling_rate", "hop_length", "codebook_size", "n_ctx", "hidden_size", "num_hidden_layers")
        check_counts(self, "num_attention_heads", "attention_blocks", "genre_words", "num_time_bins")
        check_counts(self, "num_artists", "num_genres", "n_lyrics", least=0)
        check_numbers(self, "init_scale", "min_duration", "max_duration", "lyrics_loss_fraction", "lyrics_init_scale")
        if self.level < 0:
            raise ValueError(f"level must be at least 0, not {self.level}.")
        if self.vqvae_fingerprint is not None and not re.fullmatch("[0-9a-f]{64}", self.vqvae_fingerprint):
            raise ValueError(f"vqvae_fingerprint must be 64 hexadecimal digits, not {self.vqvae_fingerprint!r}.")
        check_licence(self.weights_license)
        self._check_attention()
        self._check_labels()
        self._check_lyrics()

    def _check_attention(self) -> None:
        if self.attention_order not in ATTENTION_ORDERS:
            raise ValueError(f"attention_order must be one of {ATTENTION_ORDERS}, not {self.attention_order}.")
        check_factor("attention_multiplier", self.attention_multiplier, self.hidden_size)
        check_factor("mlp_multiplier", self.mlp_multiplier, self.hidden_size)
        positions = self.num_joint_lyrics + self.n_ctx
        if positions % self.attention_blocks:
            raise ValueError(f"{positions} positions do not fold into attention_blocks={self.attention_blocks} rows.")
        if int(self.attention_multiplier * self.hidden_size) % self.num_attention_heads:
            raise ValueError(
                f"{self.num_attention_heads} heads do not divide the attention state of "
                f"{int(self.attention_multiplier * self.hidden_size)}; change num_attention_heads or hidden_size."
            )
        if not self.is_upsampler:
            return
        check_entries(self, "upsampling_strides")
        check_counts(self, "upsampling_strides", "conditioner_width", "conditioner_depth")
        check_residual_stack(
            "conditioner_",
            self.conditioner_depth,
            self.conditioner_dilation_growth_rate,
            self.conditioner_dilation_cycle,
        )
        check_blocks("conditioner_", self.conditioner_depth * len(self.upsampling_strides))
        if self.n_ctx % self.upsampling_ratio:
            raise ValueError(f"n_ctx={self.n_ctx} is not a multiple of the upsampling ratio {self.upsampling_ratio}.")

    def _check_labels(self) -> None:
        if self.label_rules not in ("v2", "v3"):
            raise ValueError(f"label_rules must be 'v2' or 'v3', not {self.label_rules!r}.")
        if self.has_labels and self.num_genres < 1:
            raise ValueError("A prior with labels needs num_genres of at least 1.")
        check_table("artists", self.artists, self.num_artists)
        check_table("genres", self.genres, self.num_genres)

    def _check_lyrics(self) -> None:
        check_alphabet(self.alphabet)
        if self.lyrics_scheme not in (None, "separate", "joint"):
            raise ValueError(f"lyrics_scheme must be None, 'separate' or 'joint', not {self.lyrics_scheme!r}.")
        if self.lyrics_scheme is None and self.n_lyrics:
            raise ValueError(f"n_lyrics={self.n_lyrics} needs a lyrics_scheme, 'separate' or 'joint'.")
        kinds = attention_kinds(self.attention_order, self.num_hidden_layers)
        for kind, scheme in ((AttentionKind.LYRICS, "separate"), (AttentionKind.JOINT_LYRICS, "joint")):
            if kind in kinds and self.lyrics_scheme != scheme:
                raise ValueError(
                    f"attention_order={self.attention_order} with {self.num_hidden_layers} layers uses lyrics: set "
                    f"lyrics_scheme={scheme!r}."
                )
        if self.lyrics_scheme and not (self.has_labels and self.n_lyrics > 0 and self.n_lyrics % 2 == 0):
            raise ValueError("Lyrics need labels (num_artists above 0) and an even n_lyrics above 0.")
        if self.lyrics_scheme == "separate":
            self._check_lyrics_encoder()
        if self.alignment_layer is not None and not 0 <= self.alignment_layer < self.num_hidden_layers:
            raise ValueError(
                f"alignment_layer={self.alignment_layer} is out of range; the model has {self.num_hidden_layers} "
                "layers."
            )
        if self.alignment_head is not None and not 0 <= self.alignment_head < self.num_attention_heads:
            raise ValueError(
                f"alignment_head={self.alignment_head} is out of range; the model has {self.num_attention_heads} heads."
            )

    def _check_lyrics_encoder(self) -> None:
        check_counts(self, "lyrics_hidden_size", "lyrics_num_hidden_layers")
        check_counts(self, "lyrics_num_attention_heads", "lyrics_attention_blocks")
        check_factor("attention_multiplier", self.attention_multiplier, self.lyrics_hidden_size)
        check_factor("mlp_multiplier", self.mlp_multiplier, self.lyrics_hidden_size)
        if self.lyrics_attention_order not in (0, 2):
            raise ValueError(f"lyrics_attention_order must be 0 or 2, not {self.lyrics_attention_order}.")
        if self.n_lyrics % self.lyrics_attention_blocks:
            raise ValueError(
                f"n_lyrics={self.n_lyrics} does not fold into lyrics_attention_blocks={self.lyrics_attention_blocks}."
            )
        if int(self.attention_multiplier * self.lyrics_hidden_size) % self.lyrics_num_attention_heads:
            raise ValueError(
                f"{self.lyrics_num_attention_heads} heads do not divide the lyrics encoder's attention state of "
                f"{int(self.attention_multiplier * self.lyrics_hidden_size)}; change lyrics_num_attention_heads or "
                "lyrics_hidden_size."
            )
