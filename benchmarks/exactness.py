"""Print the largest deviations from the outputs of OpenAI's code in tests/fixtures/golden.

    python benchmarks/exactness.py

prints a table for docs/exactness.md and, last, the same as one line of JSON. The tests assert bounds; this shows the
margin.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.golden import ORIGINAL, PRIORS, golden_pipeline_folder, golden_prior, golden_vqvae

from hf_jukebox import JukeboxPipeline, JukeboxPrior
from hf_jukebox.sampling.logits import SamplingSettings
from hf_jukebox.sampling.single_prior import sample_codes

RATE = 44100
METAS = json.loads((ORIGINAL / "metas.json").read_text())["metas"]


def expected(name: str) -> dict[str, torch.Tensor]:
    return load_file(ORIGINAL / f"{name}_expected.safetensors")


def largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


@torch.no_grad()
def vqvae_row() -> dict[str, Any]:
    vqvae, measured = golden_vqvae(), expected("vqvae")
    codes = vqvae.encode(measured["x"])
    return {
        "model": "vqvae",
        "codes equal": all(torch.equal(codes[level], measured[f"codes_{level}"]) for level in range(3)),
        "audio": max(
            largest(vqvae.decode(codes[level], level), measured[f"decoded_from_{level}"]) for level in range(3)
        ),
    }


def greedy_equal(prior: JukeboxPrior, measured: dict[str, torch.Tensor], name: str, known: int) -> bool:
    codes = sample_codes(
        prior,
        prior.config.n_ctx,
        prefix=measured["z_0"][:, :known],
        upper_codes=measured.get("z_cond_0"),
        labels=measured["y_0"] if prior.config.has_labels else None,
        settings=SamplingSettings(temperature=1, top_k=1),
    )
    return torch.equal(codes, measured[name])


@torch.no_grad()
def prior_row(name: str) -> dict[str, Any]:
    prior, measured = golden_prior(name), expected(name)
    config = prior.config
    logits = losses = 0.0
    for start in (0, 16):
        labels = measured[f"y_{start}"] if config.has_labels else None
        out = prior(measured[f"z_{start}"], measured.get(f"z_cond_{start}"), labels)
        wanted = measured[f"preds_{start}"]
        if config.num_joint_lyrics:
            wanted = wanted[:, config.n_lyrics :, config.lyrics_vocab_size :]
        logits = max(logits, largest(out.logits, wanted))
        losses = max(losses, largest(out.loss / measured[f"loss_{start}"], torch.ones(1)))
    row = {"model": name, "logits": logits, "loss (relative)": losses}
    known = {"greedy_ancestral": 0, "greedy_primed_half": 16, "greedy_primed_7": 7}
    row["greedy equal"] = all(greedy_equal(prior, measured, *each) for each in known.items())
    if "alignment" in measured:
        row["alignment"] = largest(prior.alignment(measured["z_0"], measured["y_0"]), measured["alignment"])
    return row


def hierarchy_row(top: str) -> dict[str, Any]:
    """Compare whole greedy runs over three levels: ancestral, primed and continued."""
    measured, sound = expected("hierarchy"), expected("vqvae")["x"]
    with tempfile.TemporaryDirectory() as folder:
        pipe = JukeboxPipeline.from_pretrained(golden_pipeline_folder(top, Path(folder)))
    pipe.set_progress_bar_config(disable=True)
    labels = {name: [meta[name] for meta in METAS] for name in ("artist", "genre", "lyrics")}
    spans = {f"{name}_in_s": [meta[name] / RATE for meta in METAS] for name in ("total_length", "offset")}
    options: dict[str, Any] = {**labels, **spans, "audio_length_in_s": 8192 / RATE, "temperature": 1, "top_k": 1}
    given = [measured[f"{top}.continue.codes_{level}"].long() for level in range(3)]
    runs = {
        "ancestral": pipe(**options),
        "primed": pipe(sound, prompt_length_in_s=20 * 128 / RATE, **options),
        "continue": pipe(codes=[codes[:, : codes.shape[1] * 3 // 8] for codes in given], **options),
    }
    row: dict[str, Any] = {"model": f"hierarchy, {top} on top"}
    for mode, out in runs.items():
        wanted = [measured[f"{top}.{mode}.codes_{level}"].long() for level in range(3)]
        row[f"{mode} equal"] = all(torch.equal(a, b) for a, b in zip(out.codes, wanted, strict=True))
    audio = measured[f"{top}.ancestral.audio"].clamp(-1, 1)
    row["audio"] = largest(torch.from_numpy(runs["ancestral"].audios), audio)
    return row


def main() -> None:
    tops = ("prior_5b", "prior_5b_lyrics", "prior_1b_lyrics", "small_sep_enc_dec")
    rows = [vqvae_row(), *(prior_row(name) for name in PRIORS), *(hierarchy_row(top) for top in tops)]
    for row in rows:
        cells = (
            f"{name} {value:.1e}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()
        )
        print(" | ".join(cells).removeprefix("model "))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
