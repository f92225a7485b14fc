"""VQ-VAE: audio to codes at several levels, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from .allocator import return_freed_memory
from .configuration_jukebox import JukeboxVQVAEConfig
from .layers import losses
from .layers.autoencoder import Decoder, Encoder
from .layers.float32 import full_float32, without_autocast
from .layers.initialization import pytorch_default_
from .layers.quantizer import VectorQuantizer, are_codes
from .layers.resnet import ResidualShape
from .loading.strict_model import StrictPreTrainedModel

# Long audio is encoded in chunks of about this many samples, and decoded in blocks of at least so many seconds, so that
# memory does not grow with length. Blocks are short, because a block is heard only when it is complete.
_CHUNK_SAMPLES = 2**18
_BLOCK_IN_S = 0.5


@dataclass
class JukeboxVQVAEOutput(ModelOutput):
    """Result of [`JukeboxVQVAE`].

    Attributes:
        loss: Training loss, `()`.
        reconstruction_loss, spectral_loss, multispectral_loss, commit_loss: Its terms, summed over the levels, `()`.
        metrics: Scalars to log: the terms of each level (`.../level_0`); spectral convergence, L1, L2 and Linf of level
            0; and, averaged over the levels, the entropy in nats, rows used and rows alive of the quantisers.
        audio: Reconstruction from each level, finest first, `[B, T]` each.
        codes: Codes of each level, finest first, `[B, T_level]` each.
    """

    loss: torch.Tensor | None = None
    reconstruction_loss: torch.Tensor | None = None
    spectral_loss: torch.Tensor | None = None
    multispectral_loss: torch.Tensor | None = None
    commit_loss: torch.Tensor | None = None
    metrics: dict[str, torch.Tensor] | None = None
    audio: list[torch.Tensor] | None = None
    codes: list[torch.Tensor] | None = None


class JukeboxVQVAE(StrictPreTrainedModel):
    """Separate autoencoders, one per level, that share only their input (paper section 3)."""

    config: JukeboxVQVAEConfig
    config_class = JukeboxVQVAEConfig
    main_input_name = "audio"
    # It is small, and half precision would change its codes: the `dtype` of a pipeline does not apply to it.
    _keep_in_fp32_modules_strict = ["encoders", "decoders", "codebook", "running_count", "running_sum"]
    # One per level, finest first; nn.ModuleLists.
    encoders: Sequence[Encoder]
    decoders: Sequence[Decoder]
    quantizers: Sequence[VectorQuantizer]

    def __init__(self, config: JukeboxVQVAEConfig) -> None:
        super().__init__(config)
        shapes = [_residual_shape(config, level) for level in range(config.num_levels)]
        levels = [
            (config.downs_t[: level + 1], config.strides_t[: level + 1], shape) for level, shape in enumerate(shapes)
        ]
        encoders = nn.ModuleList(Encoder(config.codebook_dim, *level) for level in levels)
        decoders = nn.ModuleList(Decoder(config.codebook_dim, *level) for level in levels)
        quantizers = nn.ModuleList(
            VectorQuantizer(config.codebook_size, config.codebook_dim, config.ema_decay, config.restart_threshold)
            for _ in levels
        )
        self.encoders = cast(Sequence[Encoder], encoders)
        self.decoders = cast(Sequence[Decoder], decoders)
        self.quantizers = cast(Sequence[VectorQuantizer], quantizers)
        self.post_init()

    def forward(self, audio: torch.Tensor) -> JukeboxVQVAEOutput:
        """Encode, quantise and decode `audio` `[B, T]`, with the training loss; T a multiple of the top hop.

        In training mode the codebooks are updated.

        Raises:
            ValueError: T is not a multiple of the longest hop length.
        """
        hop = self.config.hop_lengths[-1]
        if audio.dim() != 2 or audio.shape[1] == 0 or audio.shape[1] % hop:
            raise ValueError(f"Training audio must be [B, T] with T a multiple of {hop}, but is {list(audio.shape)}.")
        outputs = [
            quantizer(encoder(audio[:, None]).transpose(1, 2))
            for encoder, quantizer in zip(self.encoders, self.quantizers, strict=True)
        ]
        decoded = [
            decoder(output.quantized.transpose(1, 2))[:, 0]
            for decoder, output in zip(self.decoders, outputs, strict=True)
        ]
        config = self.config
        metrics: dict[str, torch.Tensor] = {}
        terms: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
            "reconstruction": self._reconstruction_loss,
            "spectral": lambda x, y: losses.spectral_distance(x, y) / config.spectral_normalizer,
            "multispectral": lambda x, y: losses.multispectral_distance(x, y) / config.spectral_normalizer,
        }
        sums = {}
        for name, term in terms.items():
            level_losses = [term(reconstruction, audio) for reconstruction in decoded]
            metrics |= {f"{name}_loss/level_{level}": loss.detach() for level, loss in enumerate(level_losses)}
            sums[name] = torch.stack(level_losses).sum()
        commit_loss = torch.stack([output.commit_loss for output in outputs]).sum()
        loss = (
            sums["reconstruction"]
            + config.spectral_weight * sums["spectral"]
            + config.multispectral_weight * sums["multispectral"]
            + config.commit_weight * commit_loss
        )
        with torch.no_grad():
            metrics |= self._finest_errors(decoded[0], audio)
            for name in outputs[0].metrics:
                metrics[name] = torch.stack([output.metrics[name] for output in outputs]).mean()
        return JukeboxVQVAEOutput(
            loss=loss,
            reconstruction_loss=sums["reconstruction"],
            spectral_loss=sums["spectral"],
            multispectral_loss=sums["multispectral"],
            commit_loss=commit_loss,
            metrics=metrics,
            audio=decoded,
            codes=[output.codes for output in outputs],
        )

    @torch.no_grad()
    def encode(self, audio: torch.Tensor, levels: Sequence[int] | None = None) -> list[torch.Tensor]:
        """Encode `audio` `[B, T]` to a list of int64 codes `[B, floor(T / hop_lengths[level])]`, finest level first.

        Long audio is encoded in chunks that overlap by the receptive field, with the same codes as in one pass.

        Args:
            levels: Levels to encode; all by default.

        Raises:
            ValueError: there is no such level, or `audio` is of another shape or, on the CPU, not finite.
        """
        levels = range(self.config.num_levels) if levels is None else list(levels)
        for level in levels:
            self._check_level(level)
        return [self._encode_level(audio, level) for level in levels]

    @torch.no_grad()
    def iter_encode(self, blocks: Iterable[torch.Tensor], level: int) -> Iterator[torch.Tensor]:
        """Yield the codes of one level in pieces `[B, t]`, from audio in blocks `[B, t]` of any length.

        Joined, they are the codes that `encode` gives for the joined blocks; memory does not grow with the length.

        Raises:
            ValueError: there is no such level, or a block is of another shape or, on the CPU, not finite.
        """
        self._check_level(level)
        hop = self.config.hop_lengths[level]
        encoder, quantizer = self.encoders[level], self.quantizers[level]
        step, context = max(_CHUNK_SAMPLES // hop, 1), self.encoder_context(level)
        waiting, held, origin, start = iter(blocks), torch.zeros(1, 0), 0, 0  # held: audio from sample `origin` on
        while True:
            end = start + step
            pieces = [held]
            while origin + sum(piece.shape[1] for piece in pieces) < (end + context) * hop:
                if (block := next(waiting, None)) is None:
                    break
                _check_audio(block)
                pieces.append(block)
            pieces = [piece for piece in pieces if piece.shape[1]] or [held]
            held = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)
            total = (origin + held.shape[1]) // hop
            if total <= start:
                return
            end = min(end, total)
            first = max(start - context, 0)
            last = origin + held.shape[1] if end == total else min((end + context) * hop, origin + held.shape[1])
            with without_autocast(held.device.type), full_float32():
                hidden = encoder(held[:, None, first * hop - origin : last - origin].to(self.dtype)).transpose(1, 2)
                codes = quantizer.encode(hidden[:, start - first : end - first])
            yield codes
            if end < total and held.device.type == "cpu":
                return_freed_memory()
            start = end
            kept = max(start - context, 0) * hop
            held, origin = held[:, kept - origin :], kept

    @torch.no_grad()
    def decode(self, codes: torch.Tensor, level: int = 0) -> torch.Tensor:
        """Decode the codes `[B, T_level]` of one level to audio `[B, T_level * hop_lengths[level]]`, not clamped.

        Raises:
            ValueError: there is no such level, or `codes` are of another shape or outside the codebook.
        """
        blocks = list(self.iter_decode(codes, level))
        return torch.cat(blocks, dim=1) if blocks else torch.zeros(codes.shape[0], 0, device=codes.device)

    @torch.no_grad()
    def iter_decode(self, codes: torch.Tensor, level: int = 0) -> Iterator[torch.Tensor]:
        """Yield the audio of `decode` in blocks `[B, t]`, so that memory does not grow with the length.

        Raises:
            ValueError: there is no such level, or `codes` are of another shape or outside the codebook.
        """
        _check_shape(codes)
        for start, end in self.decoding_blocks(codes.shape[1], level):
            yield self.decode_block(codes, start, end, level)
            if end < codes.shape[1] and codes.device.type == "cpu":
                return_freed_memory()

    @torch.no_grad()
    def decode_block(self, codes: torch.Tensor, start: int, end: int, level: int = 0) -> torch.Tensor:
        """Decode the codes `start` to `end` of `codes` `[B, T_level]`, as they sound between the others.

        They depend on the `decoder_context(level)` codes on either side alone.

        Raises:
            ValueError: there is no such level, or `codes` are of another shape or outside the codebook.
        """
        self._check_level(level)
        _check_shape(codes)
        hop, context = self.config.hop_lengths[level], self.decoder_context(level)
        first, last = max(start - context, 0), min(end + context, codes.shape[1])
        read = codes[:, first:last]
        if not are_codes(read, self.config.codebook_size):
            raise ValueError(f"Codes must lie between 0 and {self.config.codebook_size - 1}.")
        with without_autocast(read.device.type), full_float32():
            audio = self.decoders[level](self.quantizers[level].decode(read).transpose(1, 2))[:, 0]
        return audio[:, (start - first) * hop : (end - first) * hop]

    def decoding_blocks(self, length: int, level: int = 0) -> list[tuple[int, int]]:
        """Return the blocks, first code and end, in which `length` codes of a level are decoded.

        Only the last one depends on `length`, and none is shorter than its context, which is decoded with it.

        Raises:
            ValueError: there is no such level.
        """
        self._check_level(level)
        config = self.config
        shortest = round(_BLOCK_IN_S * config.sampling_rate / config.hop_lengths[level])
        step = max(shortest, 2 * self.decoder_context(level))
        return [(start, min(start + step, length)) for start in range(0, length, step)]

    def _check_level(self, level: int) -> None:
        if not 0 <= level < self.config.num_levels:
            raise ValueError(f"There is no level {level}; this VQ-VAE has levels 0 to {self.config.num_levels - 1}.")

    def encoder_context(self, level: int) -> int:
        """Return the codes on either side whose samples a code of this level may depend on."""
        config, reach = self.config, 0
        around = sum(_residual_shape(config, level).dilations())
        for stage in reversed(range(level + 1)):
            reach += 1  # proj_out
            for _ in range(config.downs_t[stage]):
                reach = (reach + around + 2) * config.strides_t[stage]
        return -(-reach // config.hop_lengths[level])

    def decoder_context(self, level: int) -> int:
        """Return the codes on either side that a sample decoded from this level may depend on."""
        config, reach = self.config, 1  # out
        around = sum(_residual_shape(config, level).dilations())
        for stage in range(level + 1):
            for _ in range(config.downs_t[stage]):
                reach = -(-reach // config.strides_t[stage]) + 1 + around
            reach += 1  # proj_in
        return reach

    def _encode_level(self, audio: torch.Tensor, level: int) -> torch.Tensor:
        pieces = list(self.iter_encode([audio], level))
        empty = torch.zeros(audio.shape[0], 0, dtype=torch.long, device=audio.device)
        return torch.cat(pieces, dim=1) if pieces else empty

    def _reconstruction_loss(self, audio: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        config = self.config
        l1, l2 = config.l1_normalizer, config.l2_normalizer
        match config.reconstruction_loss:
            case "l1":
                return losses.l1_error(audio, target) / l1
            case "l2":
                return losses.l2_error(audio, target) / l2
            case "linf":
                return losses.linf_error(audio, target, config.linf_top_k) / l2
        mix = losses.l2_error(audio, target) / l2 * config.l2_weight
        mix = mix + losses.linf_error(audio, target, config.linf_top_k) / l2 * config.linf_weight
        return mix + losses.l1_error(audio, target) / l1 * config.l1_weight if config.l1_weight else mix

    def _finest_errors(self, audio: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        config = self.config
        return {
            "spectral_convergence": losses.spectral_convergence(audio, target),
            "l1": losses.l1_error(audio, target) / config.l1_normalizer,
            "l2": losses.l2_error(audio, target) / config.l2_normalizer,
            "linf": losses.linf_error(audio, target, config.linf_top_k) / config.l2_normalizer,
        }

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):  # PyTorch's defaults, as published
            pytorch_default_(module)
        elif isinstance(module, VectorQuantizer):
            for buffer in module.buffers():
                init.zeros_(buffer)


def _check_audio(audio: torch.Tensor) -> None:
    """Check the shape of audio to encode, and on the CPU its values: a GPU would have to be waited for."""
    if audio.dim() != 2:
        alone = "give one recording as `audio[None]`"
        remedy = alone if audio.dim() < 2 else "mix its channels to one, as by `audio.mean(1)` of [B, channels, T]"
        raise ValueError(f"`audio` must be [B, T], but is {list(audio.shape)}; {remedy}.")
    if audio.device.type == "cpu" and audio.numel() and not torch.stack(audio.aminmax()).isfinite().all():
        raise ValueError("`audio` has samples that are NaN or infinite; remove them first.")


def _check_shape(codes: torch.Tensor) -> None:
    if codes.dim() != 2:
        remedy = "give one recording as `codes[None]`" if codes.dim() < 2 else "give those of one level"
        raise ValueError(f"`codes` must be [B, T_level], but are {list(codes.shape)}; {remedy}.")


def _residual_shape(config: JukeboxVQVAEConfig, level: int) -> ResidualShape:
    factor = config.multipliers[level]
    return ResidualShape(
        width=config.width * factor,
        depth=config.depth * factor,
        hidden_multiplier=config.hidden_multiplier,
        dilation_growth_rate=config.dilation_growth_rate,
        dilation_cycle=config.dilation_cycle,
        res_scale=config.res_scale,
    )
