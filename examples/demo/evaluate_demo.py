"""Measure the demo model on held-out pieces: the figures of docs/demo.md.

    python examples/demo/evaluate_demo.py [--model FOLDER] [--prompts 10] [--output DIR]

prints, as its last line, JSON with: bits per code of each prior against the unigram entropy of the same codes, spectral
convergence of each level of the VQ-VAE, the number of continuations at the right tempo, and continuations that repeat a
second of their prompt's codes.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from synthesize import HELD_OUT_SEED, Song, synthesize_song

from hf_jukebox import DEMO_MODEL, JukeboxPipeline
from hf_jukebox.layers.losses import SPECTRAL_STFT, item_norms
from hf_jukebox.sampling.single_prior import score_codes
from hf_jukebox.sampling.window_labels import WindowLabels
from hf_jukebox.study.tempo import estimate_tempo

TEMPO_TOLERANCE = 0.04
OCTAVES = (0.5, 1.0, 2.0)
FIRST_SCORED_SEED = HELD_OUT_SEED + 100  # of the scored pieces; others are continued


def unigram_entropy(codes: torch.Tensor, codebook_size: int) -> float:
    """Return the bits per code of `codes` under their own frequencies, lower than under any other piece's."""
    share = torch.bincount(codes.flatten(), minlength=codebook_size) / codes.numel()
    share = share[share > 0]
    return -(share * share.log2()).sum().item()


def score_priors(pipeline: JukeboxPipeline, songs: list[Song], codes: list[torch.Tensor]) -> list[dict[str, float]]:
    """Score every prior in bits per code over windows of whole pieces, with the pieces' own labels."""
    results = []
    for level, prior in enumerate(pipeline.priors):
        config, ratio = prior.config, prior.config.upsampling_ratio
        window_labels = WindowLabels(pipeline.tokenizer, config)
        bits = []
        for start in range(0, codes[level].shape[1] - config.n_ctx + 1, config.n_ctx * (1, 2, 8)[2 - level]):
            labels = window_labels(
                artist=[song.kit for song in songs],
                genre=[song.style for song in songs],
                total_length=len(songs[0].audio),
                offset=start * config.hop_length,
            )
            upper = None
            if config.is_upsampler:
                upper = codes[level + 1][:, start // ratio : (start + config.n_ctx) // ratio]
            window = codes[level][:, start : start + config.n_ctx]
            bits.append(score_codes(prior, window, upper_codes=upper, labels=labels).mean().item())
        entropy = unigram_entropy(codes[level], config.codebook_size)
        mean = sum(bits) / len(bits)
        results.append({"bits_per_code": mean, "unigram_entropy": entropy, "below": 1 - mean / entropy})
    return results


def spectral_convergence_in_db(
    pipeline: JukeboxPipeline, audio: torch.Tensor, codes: list[torch.Tensor]
) -> list[float]:
    """Return 20 log10 of the relative error of the spectrogram per level, averaged over pieces."""
    results = []
    for level, level_codes in enumerate(codes):
        decoded = pipeline.vqvae.decode(level_codes, level)
        original = SPECTRAL_STFT.magnitude(audio[:, : decoded.shape[1]])
        error = item_norms(original - SPECTRAL_STFT.magnitude(decoded)) / item_norms(original)
        results.append((20 * error.log10()).mean().item())
    return results


def tempo_is_right(estimate: float, bpm: float) -> bool:
    return any(abs(estimate / (bpm * octave) - 1) <= TEMPO_TOLERANCE for octave in OCTAVES)


def repeats_a_second(codes: torch.Tensor, prompt_length: int, codes_per_second: int) -> bool:
    """Return True if some second of a piece after its prompt equals a second of the prompt, code for code."""
    row = codes.numpy()
    prompt, continuation = row[:prompt_length], row[prompt_length:]
    if min(len(prompt), len(continuation)) < codes_per_second:
        return False
    windows = np.lib.stride_tricks.sliding_window_view
    seconds = {second.tobytes() for second in windows(prompt, codes_per_second)}
    return any(second.tobytes() in seconds for second in windows(continuation, codes_per_second))


def main(
    model: Annotated[str, typer.Option(help="A pipeline's folder.")] = DEMO_MODEL,
    prompts: Annotated[int, typer.Option(min=1, help="Number of held-out pieces to continue.")] = 10,
    scored: Annotated[int, typer.Option(min=1, help="Number of held-out pieces to score.")] = 8,
    prompt_seconds: Annotated[float, typer.Option(help="Length of a prompt.")] = 6.0,
    output: Annotated[Path | None, typer.Option(help="Folder for the continuations, as wav.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
) -> None:
    """Measure the demo model."""
    pipeline = JukeboxPipeline.from_pretrained(model)
    rate = pipeline.sampling_rate

    songs = [synthesize_song(FIRST_SCORED_SEED + i, rate) for i in range(scored)]
    audio = torch.from_numpy(np.stack([song.audio for song in songs]))
    codes = pipeline.vqvae.encode(audio)
    report: dict[str, object] = {
        "levels": score_priors(pipeline, songs, codes),
        "spectral_convergence_in_db": spectral_convergence_in_db(pipeline, audio, codes),
    }
    print(json.dumps(report, indent=1), flush=True)

    songs = [synthesize_song(HELD_OUT_SEED + i, rate) for i in range(prompts)]
    cut = round(prompt_seconds * rate)
    out = pipeline(
        np.stack([song.audio[:cut] for song in songs]),
        prompt_length_in_s=prompt_seconds,
        generator=torch.Generator().manual_seed(seed),
    )
    if output is not None:
        out.save(output)
    right, repeated = [], []
    for number, song in enumerate(songs):
        estimate = estimate_tempo(out.audios[number, cut:], rate)
        right.append(tempo_is_right(estimate, song.bpm))
        for level, hop in enumerate(pipeline.vqvae.config.hop_lengths):
            if repeats_a_second(out.codes[level][number], cut // hop, round(rate / hop)):
                repeated.append((number, level))
        print(f"{song.style:8} {song.kit:8} {song.bpm:.0f} bpm, continued at {estimate:.1f} bpm", flush=True)
    report |= {"tempo_right": f"{sum(right)} of {prompts}", "repeated_seconds": repeated}
    print(json.dumps(report))


if __name__ == "__main__":
    typer.run(main)
