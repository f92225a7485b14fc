"""Evaluation of a pipeline on songs: reconstruction, likelihood, labels, continuations and their diversity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..pipeline_jukebox import JukeboxPipeline
from ..sampling.parallel import plan_segments
from ..training.data import report_unknown
from .audio_metrics import (
    estimate_key,
    loudness,
    mel_distance,
    multi_resolution_stft,
    si_sdr,
    spectral_convergence_in_db,
    spectral_flux,
)
from .excerpts import Excerpt
from .likelihood import bits_per_code, label_accuracy, present_priors
from .set_metrics import frechet_distance, kernel_distance, vendi_score
from .tempo import estimate_tempo

Embed = Callable[[torch.Tensor], Any]
"""From audio `[B, T]` at the pipeline's rate to vectors `[B, D]`."""

_TEMPO_TOLERANCE, _OCTAVES = 0.04, (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class EvaluationSettings:
    """Settings of an evaluation.

    Attributes:
        continuations: Excerpts whose first half is continued; 0 for none.
        names: Names that the true artist or genre is compared with, itself included.
        seed: Seed of what is sampled and chosen.
        levels: Levels to sample the continuations at; all that have a prior by default.
    """

    continuations: int = 8
    names: int = 10
    seed: int = 0
    levels: tuple[int, ...] | None = None


@torch.no_grad()
def evaluate(
    pipe: JukeboxPipeline,
    excerpts: Sequence[Excerpt],
    settings: EvaluationSettings,
    embed: Embed | None = None,
    on_part: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Evaluate a pipeline; the result holds JSON values only.

    Args:
        embed: Function from audio `[B, T]` to vectors `[B, D]`; the mean activations of the top prior by default.
        on_part: Called with the name of each part when it begins.

    Raises:
        ValueError: the pipeline has no prior for the labels or levels that are asked for.
    """

    def begin(part: str) -> None:
        if on_part is not None:
            on_part(part)

    result: dict[str, Any] = {
        "excerpts": len(excerpts),
        "seconds_per_excerpt": round(_num_samples(pipe, excerpts[0]) / pipe.sampling_rate, 3),
    }
    if excerpts[0].audio is not None:
        begin("reconstruction")
        result["reconstruction"] = reconstruction(pipe, excerpts)
    for prior in present_priors(pipe)[-1:]:  # names are those of the top prior at all levels
        report_unknown([excerpt.song for excerpt in excerpts], prior.config)
    begin("bits per code")
    result["bits_per_code"] = bits_per_code(pipe, excerpts)
    begin("labels")
    result["labels"] = label_accuracy(pipe, excerpts, settings.names, settings.seed)
    if settings.continuations:
        begin("continuations")
        result["continuations"] = continuations(pipe, excerpts, settings, embed)
        begin("seams")
        result["seams"] = seams(pipe, excerpts[0], settings)
    pipe.unload_parts()
    return {name: value for name, value in result.items() if value not in (None, {}, [])}


def reconstruction(pipe: JukeboxPipeline, excerpts: Sequence[Excerpt]) -> list[dict[str, float]]:
    """Return the distances of every level's reconstruction from the recordings, averaged, finest level first."""
    results = []
    pipe.load_part(pipe.vqvae)
    for level in range(pipe.vqvae.config.num_levels):
        found: dict[str, list[float]] = {}
        for excerpt in excerpts:
            target = torch.from_numpy(np.asarray(excerpt.audio))[None]
            audio = torch.from_numpy(_decoded(pipe, excerpt.codes[level], level))[None]
            for name, value in (
                ("spectral_convergence_db", spectral_convergence_in_db(audio, target)),
                ("multi_resolution_stft", multi_resolution_stft(audio, target)),
                ("si_sdr_db", si_sdr(audio, target)),
                ("mel_distance", mel_distance(audio, target, pipe.sampling_rate)),
            ):
                found.setdefault(name, []).append(float(value[0]))
        results.append({"level": level, **{name: round(float(np.mean(v)), 4) for name, v in found.items()}})
    return results


def continuations(
    pipe: JukeboxPipeline, excerpts: Sequence[Excerpt], settings: EvaluationSettings, embed: Embed | None
) -> dict[str, Any]:
    """Continue the first half of excerpts, and compare prompt and continuation, and both sets of second halves.

    `real` is the same for the songs' own second halves: what a perfect model would reach.
    """
    chosen = list(excerpts[: settings.continuations])
    samples = _num_samples(pipe, chosen[0])
    top_hop = pipe.vqvae.config.hop_lengths[-1]
    half = samples // (2 * top_hop) * top_hop
    real = [_audio(pipe, excerpt) for excerpt in chosen]
    hops = pipe.vqvae.config.hop_lengths
    known = [torch.stack([excerpt.codes[level][: half // hop] for excerpt in chosen]) for level, hop in enumerate(hops)]
    out = pipe(
        codes=known,
        audio_length_in_s=samples / pipe.sampling_rate,
        generator=list(range(settings.seed, settings.seed + len(chosen))),
        total_length_in_s=[excerpt.total_length / pipe.sampling_rate for excerpt in chosen],
        offset_in_s=[excerpt.offset / pipe.sampling_rate for excerpt in chosen],
        levels=settings.levels,
    )
    assert out.audios is not None
    sampled = [np.asarray(audio) for audio in out.audios]
    rate = pipe.sampling_rate
    result: dict[str, Any] = {"pieces": len(chosen), "seconds": round((samples - half) / rate, 3)}
    for name, audios in (("sampled", sampled), ("real", real)):
        pairs = [(prompt[:half], audio[half:]) for prompt, audio in zip(real, audios, strict=True)]
        result[name] = _agreement_of_halves(pairs, rate)
    vectors = [_embedded(pipe, [audio[half:] for audio in audios], embed) for audios in (sampled, real)]
    result["sampled"]["vendi_score"], result["real"]["vendi_score"] = (round(vendi_score(v), 3) for v in vectors)
    rest = [_audio(pipe, excerpt)[half:] for excerpt in excerpts[len(chosen) : 2 * len(chosen)]]
    if len(chosen) > 1:
        result["distance"] = _distances(vectors[0], vectors[1])
        if len(rest) == len(chosen):  # otherwise the sizes, and so the biases, of both distances would differ
            result["floor"] = _distances(_embedded(pipe, rest, embed), vectors[1])
    return result


def seams(pipe: JukeboxPipeline, excerpt: Excerpt, settings: EvaluationSettings) -> dict[str, Any]:
    """Return the spectral flux at the seams of parallel upsampling over that elsewhere, at the finest level sampled.

    Both are medians over 20 ms around each place; 1 means that seams change the sound no more than other places.
    """
    upsamplers = [prior for prior in present_priors(pipe) if prior.config.is_upsampler]
    if not upsamplers:
        return {}
    prior = upsamplers[0]
    level, config = prior.config.level, prior.config
    known = [None if n <= level else codes[None] for n, codes in enumerate(excerpt.codes)]
    segments = plan_segments(len(excerpt.codes[level]), config.n_ctx, config.upsampling_ratio, [0])
    positions = [segment.begin * config.hop_length for segment in segments if segment.warms_up and segment.begin]
    if not positions:
        return {}
    fluxes = {}
    for upsampling in ("parallel", "sequential"):
        out = pipe(codes=known, levels=(level,), upsampling=upsampling, generator=settings.seed)
        assert out.audios is not None
        audio = np.asarray(out.audios[0])
        flux = spectral_flux(audio, pipe.sampling_rate)
        frames = [round(position / len(audio) * (len(flux) - 1)) for position in positions]
        at_seams = [flux[max(frame - 2, 0) : frame + 3].max() for frame in frames]
        everywhere = np.lib.stride_tricks.sliding_window_view(flux, min(5, len(flux))).max(axis=1)
        fluxes[upsampling] = round(float(np.median(at_seams) / max(np.median(everywhere), 1e-9)), 3)
    return {"level": level, "seams": len(positions), "flux_over_elsewhere": fluxes}


def _agreement_of_halves(pairs: Sequence[tuple[np.ndarray, np.ndarray]], rate: int) -> dict[str, Any]:
    """Compare tempo, key and loudness of prompts and what follows; pieces without a tempo are left out of its share."""
    tempi, keys, levels = [], [], []
    for prompt, rest in pairs:
        try:
            ratio = estimate_tempo(rest, rate) / estimate_tempo(prompt, rate)
            tempi.append(any(abs(ratio / octave - 1) <= _TEMPO_TOLERANCE for octave in _OCTAVES))
        except ValueError:  # too short, or without onsets
            pass
        keys.append(estimate_key(prompt, rate) == estimate_key(rest, rate))
        levels.append(loudness(rest, rate) - loudness(prompt, rate))
    finite = [level for level in levels if np.isfinite(level)]
    return {
        "same_tempo": round(float(np.mean(tempi)), 4) if tempi else None,
        "with_tempo": len(tempi),
        "same_key": round(float(np.mean(keys)), 4),
        "loudness_change_lu": round(float(np.mean(np.abs(finite))), 3) if finite else None,
    }


def _distances(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    return {
        "frechet": round(frechet_distance(first, second), 6),
        "kernel": round(kernel_distance(first, second), 6),
        "vectors": min(len(first), len(second)),
    }


def _embedded(pipe: JukeboxPipeline, audios: Sequence[np.ndarray], embed: Embed | None) -> np.ndarray:
    """Return the vectors `[N, D]` of recordings of one length."""
    stacked = torch.from_numpy(np.stack(audios))
    if embed is None:
        embeddings = pipe.embed(list(stacked.numpy()), sampling_rate=pipe.sampling_rate).embeddings
        return np.asarray(embeddings, np.float64).reshape(len(stacked), -1)
    return np.asarray(embed(stacked), np.float64)


def _num_samples(pipe: JukeboxPipeline, excerpt: Excerpt) -> int:
    return len(excerpt.codes[-1]) * pipe.vqvae.config.hop_lengths[-1]


def _audio(pipe: JukeboxPipeline, excerpt: Excerpt) -> np.ndarray:
    """Return the recording of an excerpt, or its finest codes decoded."""
    return _decoded(pipe, excerpt.codes[0], 0) if excerpt.audio is None else excerpt.audio


def _decoded(pipe: JukeboxPipeline, codes: torch.Tensor, level: int) -> np.ndarray:
    pipe.load_part(pipe.vqvae)
    return pipe.vqvae.decode(codes[None].to(pipe.vqvae.device), level)[0].float().cpu().clamp(-1, 1).numpy()
