"""Autoregressive priors: a top prior over the coarsest codes, and upsamplers below it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration_jukebox import JukeboxPriorConfig
from .layers.attention import AttentionShape, LyricsAttention, StepPosition
from .layers.conditioning import LabelEmbedding, TimingEmbedding, UpperCodesConditioner, check_timing
from .layers.fast_paths import Linear, is_plain, step_linear
from .layers.initialization import pytorch_default_
from .layers.lyrics_encoder import LyricsEncoder
from .layers.quantizer import are_codes
from .layers.resnet import ResidualShape
from .layers.transformer import FusedSteps, RecordedOutputs, Transformer, TransformerShape
from .loading.strict_model import StrictPreTrainedModel


@dataclass
class JukeboxPriorOutput(ModelOutput):
    """Result of [`JukeboxPrior`].

    Attributes:
        loss: Training loss in bits per code, `()`: weighted by the number of codes and characters and by
            `lyrics_loss_fraction`.
        code_loss: Bits per code of the codes alone, `()`.
        lyrics_loss: Bits per character of the lyrics, `()`; None without lyrics.
        logits: Over the codes, float32 `[B, T, codebook_size]`; those at `t` predict `codes[:, t]`.
        lyrics_logits: Over the characters `[B, n_lyrics, vocab]`; in a one-sequence prior characters, then codes.
        hidden_states: Input of each block and output of the last, `[B, positions, hidden_size]` each; in a
            one-sequence prior the lyrics come first.
        attentions: Weights of each layer, `[B, heads, positions, keys]`; keys are lyrics in a layer that reads them.
    """

    loss: torch.Tensor | None = None
    code_loss: torch.Tensor | None = None
    lyrics_loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    lyrics_logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class DecodeState:
    """State of a window's decode steps, in tensors of fixed shape: allocated once, refilled for each window."""

    caches: list[torch.Tensor]  # one per layer, shaped by its attention kind
    first_input: torch.Tensor  # [B, 1, width] input at the first code
    conditioning: torch.Tensor | None  # [B, n_ctx, width] added to every input
    index: torch.Tensor  # [1, positions] 0, 1, 2 ...
    fused: FusedSteps | None = None  # the blocks as kernels written by hand, in compiled steps

    @property
    def batch_size(self) -> int:
        return self.first_input.shape[0]

    def of_rows(self, rows: slice) -> DecodeState:
        """Return a state of some of the songs, as views."""
        caches = [cache[:, rows] for cache in self.caches]
        conditioning = None if self.conditioning is None else self.conditioning[rows]
        return DecodeState(caches, self.first_input[rows], conditioning, self.index)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return views of all that a window fills, by name, batch first: to save, split or restore."""
        views = {f"cache_{layer}": cache.transpose(0, 1) for layer, cache in enumerate(self.caches)}
        views["first_input"] = self.first_input
        if self.conditioning is not None:
            views["conditioning"] = self.conditioning
        return views


class JukeboxPrior(StrictPreTrainedModel):
    """Transformer over the codes of one level, in windows of `n_ctx` codes.

    `forward` reads whole windows, for training and scoring. `init_state`, `prefill` and `step` sample: a state is
    allocated once, prefilled per window from its first codes, and advanced one code at a time. Both give the same
    logits.
    """

    config: JukeboxPriorConfig
    config_class = JukeboxPriorConfig
    main_input_name = "codes"
    _input_embed_layer = "token_embedding"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["TransformerBlock"]
    # The published half precision: only the linear layers of the blocks are halved.
    _keep_in_fp32_modules_strict = [
        "token_embedding",
        "position_embedding",
        "start_embedding",
        "label_embedding",
        "timing_embedding",
        "conditioner",
        "norm1",
        "norm2",
        "norm",
        "head",
        "lyrics_encoder.proj",
        "lyrics_head",
    ]

    def __init__(self, config: JukeboxPriorConfig) -> None:
        super().__init__(config)
        self._columns = config.label_columns
        width = config.hidden_size
        positions = config.num_joint_lyrics + config.n_ctx
        self._code_shift = config.lyrics_vocab_size if config.num_joint_lyrics else 0
        vocab_size = self._code_shift + config.codebook_size

        self.token_embedding = nn.Embedding(vocab_size, width)
        self.position_embedding = nn.Parameter(torch.empty(positions, width))
        self.label_embedding: LabelEmbedding | None = None
        self.timing_embedding: TimingEmbedding | None = None
        self.conditioner: UpperCodesConditioner | None = None
        self.lyrics_encoder: LyricsEncoder | None = None
        if config.has_labels:
            self.label_embedding = LabelEmbedding(config.num_artists, config.num_genres, config.genre_words, width)
        else:
            self.start_embedding = nn.Parameter(torch.empty(width))
        if config.has_timing:
            self.timing_embedding = TimingEmbedding(
                config.num_time_bins,
                width,
                config.n_ctx,
                config.min_duration * config.sampling_rate,
                config.max_duration * config.sampling_rate,
            )
        if config.is_upsampler:
            self.conditioner = UpperCodesConditioner(
                config.codebook_size, width, config.upsampling_strides, _conditioner_shape(config)
            )
        if config.lyrics_scheme == "separate":
            self.lyrics_encoder = LyricsEncoder(config.lyrics_vocab_size, _lyrics_transformer_shape(config), width)
            self.lyrics_head = Linear(width, config.lyrics_vocab_size, bias=False)
        self.transformer = Transformer(_transformer_shape(config))
        self.head = Linear(width, vocab_size, bias=False)
        if config.tie_word_embeddings:
            self._tied_weights_keys = {"head.weight": "token_embedding.weight"}
        self.post_init()

    # Whole windows -------------------------------------------------------------------------------------------------

    def forward(
        self,
        codes: torch.Tensor,
        upper_codes: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> JukeboxPriorOutput:
        """Score windows, teacher-forced.

        Args:
            codes: `[B, T]`, T from 1 to `n_ctx` codes from the window's start.
            upper_codes: Codes of the level above for the same span, `[B, ceil(T / upsampling_ratio)]` or more;
                required by an upsampler, rejected by a top prior.
            labels: `[B, label_length]`, as [`JukeboxTokenizer`] makes them; required by a prior that has labels.

        Raises:
            ValueError: an input is missing, of the wrong shape, or outside the range of the timing tables or, on the
                CPU, of the codebook.
        """
        self._check_inputs(codes, upper_codes, labels)
        recorded = RecordedOutputs(hidden_states=[] if output_hidden_states else None)
        if output_attentions:
            heads = range(self.config.num_attention_heads)
            recorded.heads = [(layer, head) for layer in range(self.config.num_hidden_layers) for head in heads]

        conditioning = self._conditioning(upper_codes, labels)
        lyrics = self._lyrics_states(labels)
        inputs, added = self._embed(codes, labels, conditioning)
        hidden = self.transformer(inputs, lyrics, recorded=recorded)
        if added is not None and not self.config.merged_decoder:
            hidden = hidden + added
        logits, lyrics_logits, code_loss, lyrics_loss = self._predict(hidden, lyrics, codes, labels)
        return JukeboxPriorOutput(
            loss=self._total_loss(code_loss, lyrics_loss, codes.shape[1]),
            code_loss=code_loss,
            lyrics_loss=lyrics_loss,
            logits=logits,
            lyrics_logits=lyrics_logits,
            hidden_states=tuple(recorded.hidden_states) if recorded.hidden_states is not None else None,
            attentions=_stack_heads(recorded, self.config) if output_attentions else None,
        )

    @torch.no_grad()
    def alignment(self, codes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the attention from codes to lyric slots at the alignment layer and head, `[B, T, n_lyrics]`.

        In a one-sequence prior these are the columns of the lyric positions, not renormalised.

        Raises:
            ValueError: the model has no lyrics, or its config names no alignment layer and head.
        """
        layer, head = self.config.alignment_layer, self.config.alignment_head
        if layer is None or head is None:
            raise ValueError("This prior cannot align lyrics: its config names no alignment_layer and alignment_head.")
        return self.lyric_attention(codes, labels, [(layer, head)])[layer, head]

    @torch.no_grad()
    def lyric_attention(
        self, codes: torch.Tensor, labels: torch.Tensor, heads: Collection[tuple[int, int]]
    ) -> dict[tuple[int, int], torch.Tensor]:
        """Return the attention from codes to lyric slots, `[B, T, n_lyrics]` per `(layer, head)` of `heads`.

        In a one-sequence prior these are the columns of the lyric positions, not renormalised.

        Args:
            codes: `[B, T]`, T from 1 to `n_ctx` codes from the window's start.
            labels: `[B, label_length]`, as [`JukeboxTokenizer`] makes them.

        Raises:
            ValueError: the prior has no lyrics, or an input does not fit it.
        """
        if self.config.lyrics_scheme is None:
            raise ValueError("This prior cannot align lyrics: it does not use any.")
        self._check_inputs(codes, None, labels)
        recorded = RecordedOutputs(heads=heads)
        inputs, _ = self._embed(codes, labels, self._conditioning(None, labels))
        self.transformer(inputs, self._lyrics_states(labels), recorded=recorded)
        first, n_lyrics = self.config.num_joint_lyrics, self.config.n_lyrics
        return {pair: weights[:, first:, :n_lyrics] for pair, weights in recorded.attentions.items()}

    @torch.no_grad()
    def iter_hidden_states(
        self, codes: torch.Tensor, upper_codes: torch.Tensor | None = None, labels: torch.Tensor | None = None
    ) -> Iterator[torch.Tensor]:
        """Yield the hidden states of a window's codes from the bottom up, `[B, T, hidden_size]` each.

        The first is the input of the first block, number n the output of n blocks: the `hidden_states` of `forward`
        without the lyrics of a one-sequence prior. A block runs when its states are asked for: stop early, and the
        blocks above cost nothing and may lack their weights. For the arguments see `forward`.

        Raises:
            ValueError: an input is missing, of the wrong shape, or outside the range of the timing tables or, on the
                CPU, of the codebook.
        """
        self._check_inputs(codes, upper_codes, labels)
        inputs, _ = self._embed(codes, labels, self._conditioning(upper_codes, labels))
        for hidden in self.transformer.iter_hidden_states(inputs, self._lyrics_states(labels)):
            yield hidden[:, self.config.num_joint_lyrics :]

    def unused_below(self, num_layers: int) -> tuple[str, ...]:
        """Return how the names of the weights begin that the hidden states up to `num_layers` blocks do not need."""
        above = [f"transformer.blocks.{layer}." for layer in range(num_layers, self.config.num_hidden_layers)]
        return ("head.", "lyrics_head.", *above)

    # One code at a time --------------------------------------------------------------------------------------------

    def init_state(self, batch_size: int, device: torch.device | None = None) -> DecodeState:
        """Allocate the state of windows of `batch_size` songs, on the model's device unless another one is given."""
        config, embedding = self.config, self.position_embedding
        device = embedding.device if device is None else device
        conditioning = None
        if config.is_upsampler or config.has_timing:
            conditioning = embedding.new_zeros(batch_size, config.n_ctx, config.hidden_size, device=device)
        return DecodeState(
            caches=self.transformer.init_caches(batch_size, device),
            first_input=embedding.new_zeros(batch_size, 1, config.hidden_size, device=device),
            conditioning=conditioning,
            index=torch.arange(embedding.shape[0], device=device)[None],
        )

    @torch.no_grad()
    def prefill(
        self,
        state: DecodeState,
        prefix: torch.Tensor,
        upper_codes: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> None:
        """Fill `state` with a window's conditioning and its first codes, `prefix` `[B, k]`, in one pass.

        Afterwards `step` continues at position k. For `upper_codes` and `labels` see `forward`.

        Raises:
            ValueError: an input is missing, of the wrong shape, or outside the range of the timing tables or, on the
                CPU, of the codebook.
        """
        self._check_inputs(prefix, upper_codes, labels, is_prefix=True)
        # Libraries add in an order that depends on the number of rows. On a CPU one row at a time costs nothing.
        at_once = 1 if state.first_input.device.type == "cpu" else state.batch_size
        for first in range(0, state.batch_size, at_once):
            rows = slice(first, first + at_once)
            upper, own_labels = (None if tensor is None else tensor[rows] for tensor in (upper_codes, labels))
            self._prefill(state.of_rows(rows), prefix[rows], upper, own_labels)

    @torch.no_grad()
    def step(
        self,
        state: DecodeState,
        previous: torch.Tensor,
        position: torch.Tensor,
        count: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the logits of the code at `position`, float32 `[B, codebook_size]`, and append it to the state.

        A state of one song with `fused` kernels for a CPU takes n successive positions at once, in one row of columns
        of the attention, and returns `[n, codebook_size]`.

        Args:
            previous: The code before it, `[B]`, or `[n]` those before each position; ignored at position 0.
            position: `[1]`, or `[n]`, counted in codes from the window's start.
            count: `[1]`, the first of the n positions whose logits are wanted; None for all of them.
        """
        shape = self.transformer.shape.attention
        index = position + self.config.num_joint_lyrics
        embedded = self.token_embedding(previous + self._code_shift)[:, None]  # [B, 1, width]
        hidden = torch.where((position == 0)[:, None, None], state.first_input, embedded)
        hidden = hidden + self.position_embedding.index_select(0, index)[:, None]
        added = None
        if state.conditioning is not None:  # one position of every song, or positions of one song
            added = state.conditioning.index_select(1, position).flatten(0, 1)[:, None]
            hidden = hidden + added
        at = StepPosition.at(index, state.index, shape, count)
        hidden = self.transformer.step(hidden, at, state.caches, state.fused)
        if added is not None and not self.config.merged_decoder:
            hidden = hidden + added
        linear = step_linear if state.fused is None else state.fused.linear
        logits = linear(self.head, hidden[:, 0].to(self.head.weight.dtype))
        return _at_least_float32(logits)[:, self._code_shift :]

    # Parts ---------------------------------------------------------------------------------------------------------

    def _prefill(
        self, state: DecodeState, prefix: torch.Tensor, upper_codes: torch.Tensor | None, labels: torch.Tensor | None
    ) -> None:
        for cache in state.caches:
            cache.zero_()
        conditioning = self._conditioning(upper_codes, labels)
        if state.conditioning is not None and conditioning is not None:
            state.conditioning.zero_()[:, : conditioning.shape[1]] = conditioning
        lyrics = self._lyrics_states(labels)
        if lyrics is not None:
            self.transformer.prefill_lyrics(lyrics, state.caches)

        if self.config.num_joint_lyrics and labels is not None:
            state.first_input.copy_(self.token_embedding(labels[:, self._columns.lyrics][:, -1:]))
        else:
            state.first_input.copy_(self._start(prefix.shape[0], labels))
        inputs, _ = self._embed(prefix, labels, conditioning)
        if inputs.shape[1]:
            self.transformer(inputs, lyrics, caches=state.caches)

    def _start(self, batch_size: int, labels: torch.Tensor | None) -> torch.Tensor:
        """Return the input at the first position, `[B, 1, width]`."""
        if self.label_embedding is not None and labels is not None:
            return self.label_embedding(labels)
        return self.start_embedding.expand(batch_size, 1, -1)

    def _conditioning(self, upper_codes: torch.Tensor | None, labels: torch.Tensor | None) -> torch.Tensor | None:
        """Return the conditioning that is added to the codes' embeddings, `[B, up to n_ctx, width]`."""
        if self.conditioner is not None and upper_codes is not None:
            return self.conditioner(upper_codes[:, : self.config.n_ctx // self.config.upsampling_ratio].long())
        if self.timing_embedding is not None and labels is not None:
            return self.timing_embedding(labels)
        return None

    def _lyric_tokens(self, labels: torch.Tensor | None) -> torch.Tensor | None:
        """Return the lyric tokens `[B, n_lyrics]`, or None in a prior without lyrics."""
        return None if labels is None or not self.config.n_lyrics else labels[:, self._columns.lyrics]

    def _lyrics_states(self, labels: torch.Tensor | None) -> torch.Tensor | None:
        """Run the separate lyrics encoder, if there is one, to states `[B, n_lyrics, width]`."""
        tokens = self._lyric_tokens(labels)
        return None if self.lyrics_encoder is None or tokens is None else self.lyrics_encoder(tokens)

    def _tokens(self, codes: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Return the modelled sequence `[B, num_joint_lyrics + T]`, as rows of the embedding."""
        tokens = codes.long() + self._code_shift
        if self.config.num_joint_lyrics and labels is not None:
            tokens = torch.cat([labels[:, self._columns.lyrics], tokens], dim=1)
        return tokens

    def _embed(
        self, codes: torch.Tensor, labels: torch.Tensor | None, conditioning: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the transformer's inputs `[B, num_joint_lyrics + T, width]`, and the conditioning in them."""
        tokens = self._tokens(codes, labels)
        length = tokens.shape[1]
        start = self._start(codes.shape[0], labels)
        inputs = torch.cat([start, self.token_embedding(tokens)], dim=1)[:, :length]  # shifted right by one
        inputs = inputs + self.position_embedding[:length]
        if conditioning is None:
            return inputs, None
        added = F.pad(conditioning[:, : codes.shape[1]], (0, 0, self.config.num_joint_lyrics, 0))
        return inputs + added, added

    def _head(self, hidden: torch.Tensor) -> torch.Tensor:
        return _at_least_float32(self.head(hidden.to(self.head.weight.dtype)))

    def _predict(
        self, hidden: torch.Tensor, lyrics: torch.Tensor | None, codes: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor | None]:
        """Return the logits of codes and lyrics, and their losses in bits."""
        first, joint_logits = self.config.num_joint_lyrics, self._head(hidden)
        bits = bits_of(joint_logits, self._tokens(codes, labels))  # before slicing, which would copy
        code_loss, logits = bits[:, first:].mean(), joint_logits[:, first:, self._code_shift :]
        if first:
            return logits, joint_logits[:, :first], code_loss, bits[:, :first].mean()
        tokens = self._lyric_tokens(labels)
        if lyrics is None or tokens is None:
            return logits, None, code_loss, None
        lyrics_logits = _at_least_float32(self.lyrics_head(lyrics.to(self.lyrics_head.weight.dtype)))
        return logits, lyrics_logits, code_loss, bits_of(lyrics_logits, tokens).mean()

    def _total_loss(self, code_loss: torch.Tensor, lyrics_loss: torch.Tensor | None, length: int) -> torch.Tensor:
        if lyrics_loss is None:
            return code_loss
        n_lyrics = self.config.n_lyrics
        weighted = self.config.lyrics_loss_fraction * lyrics_loss * n_lyrics + code_loss * length
        return weighted / (n_lyrics + length)

    def _check_inputs(
        self,
        codes: torch.Tensor,
        upper_codes: torch.Tensor | None,
        labels: torch.Tensor | None,
        is_prefix: bool = False,
    ) -> None:
        """Check the inputs of a window; only a prefix may be empty."""
        config = self.config
        check_codes("prefix" if is_prefix else "codes", codes, config.codebook_size)
        length = codes.shape[1]
        if not length and not is_prefix:
            raise ValueError("`codes` are empty; give at least one code per row.")
        if length > config.n_ctx:
            raise ValueError(f"A window holds {config.n_ctx} codes, but {length} were given; cut them into windows.")
        if config.is_upsampler != (upper_codes is not None):
            raise ValueError(
                f"The prior of level {config.level} "
                + ("is an upsampler and needs upper_codes." if config.is_upsampler else "takes no upper_codes.")
            )
        if upper_codes is not None:
            check_codes("upper_codes", upper_codes, config.codebook_size)
            if upper_codes.shape[1] * config.upsampling_ratio < length:
                raise ValueError(
                    f"{length} codes of level {config.level} need {-(-length // config.upsampling_ratio)} codes of the "
                    f"level above, but only {upper_codes.shape[1]} were given."
                )
        if not config.has_labels:
            return
        if labels is None or labels.shape[1] != config.label_length:
            given = "none" if labels is None else f"rows of {labels.shape[1]}"
            raise ValueError(
                f"The prior of level {config.level} needs label rows of {config.label_length} numbers, but got "
                f"{given}; make them with JukeboxTokenizer."
            )
        # Training checks labels before they are moved to a GPU, since to read them there would wait for the last step.
        if self.timing_embedding is not None and not (self.training and labels.device.type != "cpu"):
            check_timing(labels, self.timing_embedding.min_length, self.timing_embedding.max_length)

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise weights as published.

        `PreTrainedModel` calls this for every module that has weights of its own, and may skip those that only hold
        other modules, so ownership is checked here.
        """
        scale = self.config.lyrics_init_scale if _holds(self.lyrics_encoder, module) else self.config.init_scale
        if isinstance(module, nn.Linear):
            if module is self.head and self.config.merged_decoder:
                pytorch_default_(module)
            else:
                init.normal_(module.weight, std=0.0 if self._starts_at_zero(module) else 0.02 * scale)
                if module.bias is not None:
                    init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            is_label = _holds(self.label_embedding, module) or _holds(self.timing_embedding, module)
            init.normal_(module.weight, std=(0.01 if is_label else 0.02) * scale)
        elif isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
            pytorch_default_(module)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, (JukeboxPrior, LyricsEncoder)):
            init.normal_(module.position_embedding, std=0.01 * scale)
            if hasattr(module, "start_embedding"):
                init.normal_(module.start_embedding, std=0.01 * scale)

    def _starts_at_zero(self, linear: nn.Linear) -> bool:
        """Return True for layers that start at zero: an untrained block that attends to lyrics adds nothing."""
        readers = [block for block in self.transformer.blocks if isinstance(block.attn, LyricsAttention)]
        return any(linear is block.attn.out_proj or linear is block.mlp.fc2 for block in readers)


def _holds(parent: nn.Module | None, module: nn.Module) -> bool:
    return parent is not None and any(module is part for part in parent.modules())


def _at_least_float32(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_codes(name: str, codes: torch.Tensor, codebook_size: int) -> None:
    """Check that codes are whole numbers `[B, T]` and, on the CPU, rows of the codebook: a GPU would be waited for.

    Args:
        name: Name of the argument, for the message.

    Raises:
        ValueError: they are not.
    """
    if codes.dim() != 2:
        remedy = f"give one row as `{name}[None]`" if codes.dim() < 2 else "give those of one level, a row per song"
        raise ValueError(f"`{name}` must be [B, T], but has the shape {list(codes.shape)}; {remedy}.")
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise ValueError(f"`{name}` must be whole numbers, not {codes.dtype}; give codes as int64.")
    # Neither while a pass is traced nor on fake tensors, which have no values.
    is_readable = codes.device.type == "cpu" and is_plain(codes) and not torch.compiler.is_compiling()
    if is_readable and not are_codes(codes.long(), codebook_size):
        raise ValueError(
            f"`{name}` must lie between 0 and {codebook_size - 1}, the codebook of this prior; give codes of its own "
            "VQ-VAE."
        )


def bits_of(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the bits that each of `targets` `[B, T]` costs."""
    nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return nats.view_as(targets) / math.log(2)


def _stack_heads(recorded: RecordedOutputs, config: JukeboxPriorConfig) -> tuple[torch.Tensor, ...]:
    heads = range(config.num_attention_heads)
    return tuple(
        torch.stack([recorded.attentions[layer, head] for head in heads], dim=1)
        for layer in range(config.num_hidden_layers)
    )


def _transformer_shape(config: JukeboxPriorConfig) -> TransformerShape:
    attention = AttentionShape(
        width=config.hidden_size,
        state=int(config.attention_multiplier * config.hidden_size),
        heads=config.num_attention_heads,
        rows=config.attention_blocks,
        positions=config.num_joint_lyrics + config.n_ctx,
        num_lyrics=config.n_lyrics,
    )
    mlp_width = int(config.mlp_multiplier * config.hidden_size)
    return TransformerShape(attention, config.num_hidden_layers, config.attention_order, mlp_width, config.res_scale)


def _lyrics_transformer_shape(config: JukeboxPriorConfig) -> TransformerShape:
    attention = AttentionShape(
        width=config.lyrics_hidden_size,
        state=int(config.attention_multiplier * config.lyrics_hidden_size),
        heads=config.lyrics_num_attention_heads,
        rows=config.lyrics_attention_blocks,
        positions=config.n_lyrics,
    )
    mlp_width = int(config.mlp_multiplier * config.lyrics_hidden_size)
    return TransformerShape(attention, config.lyrics_num_hidden_layers, config.lyrics_attention_order, mlp_width)


def _conditioner_shape(config: JukeboxPriorConfig) -> ResidualShape:
    return ResidualShape(
        width=config.conditioner_width,
        depth=config.conditioner_depth,
        dilation_growth_rate=config.conditioner_dilation_growth_rate,
        dilation_cycle=config.conditioner_dilation_cycle,
        res_scale=config.conditioner_res_scale,
    )
