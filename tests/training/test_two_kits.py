"""Adapters trained on two kits of drums, from recordings to a run with both of them."""

import csv
import re
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from helpers.tiny import RATE, codes_in_s, tiny_pipeline

from hf_jukebox import JukeboxPipeline, JukeboxPrior, adapters
from hf_jukebox.training.arguments import LoopArguments, parse_arguments
from hf_jukebox.training.data import DataArguments
from hf_jukebox.training.prior_arguments import PriorArguments
from hf_jukebox.training.train_prior import train_prior

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "demo"))

from synth import KITS, synthesize_song

KIT_NAMES = sorted(KITS)[:2]


def train_adapter(folder: Path, kit: str, output: str, **options: object) -> None:
    """Train as examples/train_prior.py does with these options."""
    words: dict[str, object] = {
        "prior": folder / "model" / "prior_2",
        "vqvae": folder / "model" / "vqvae",
        "train_data_dir": folder / kit,
        "output_dir": folder / output,
        "lora_rank": 2,
        "lora_alpha": 3,
        "learning_rate": 0.05,
        "lr_warmup_steps": 0,
        "max_train_steps": 3,
        "train_batch_size": 2,
        "sample_steps": 0,
        "ema_decay": 0.5,
        "report_to": "none",
        "min_duration": 1,
    } | options
    line = [text for name, value in words.items() for text in (f"--{name}", *str(value).split())]
    train_prior(*parse_arguments([PriorArguments, DataArguments, LoopArguments], "", "", line))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline, `model`, songs of two kits, and the adapters that were trained on them, each with a new artist."""
    folder = tmp_path_factory.mktemp("kits")
    tiny_pipeline("tiny_labelled_prior", min_duration=1.0).save_pretrained(folder / "model")
    for kit in KIT_NAMES:
        songs = [song for seed in range(40) if (song := synthesize_song(seed, RATE, 2.0)).kit == kit][:4]
        (folder / kit).mkdir()
        for number, song in enumerate(songs):
            soundfile.write(folder / kit / f"{number}.wav", song.audio, RATE)
        with (folder / kit / "metadata.csv").open("w", newline="") as file:
            rows = [[f"{number}.wav", f"kit {kit}", "rock"] for number in range(len(songs))]
            csv.writer(file).writerows([["file_name", "artist", "genre"], *rows])
        train_adapter(folder, kit, f"adapted-{kit}")
    return folder


@torch.no_grad()
def logits(prior: JukeboxPrior) -> torch.Tensor:
    config = prior.config
    codes = torch.randint(config.codebook_size, (1, config.n_ctx), generator=torch.Generator().manual_seed(0))
    return prior.eval()(codes, labels=torch.tensor([[2 * RATE, 0, config.window_length, 1, 1]])).logits


def test_two_adapters_are_the_sum_of_what_they_have_learned(folder: Path) -> None:
    base = JukeboxPrior.from_pretrained(folder / "model" / "prior_2")
    own = {name: weight.clone() for name, weight in base.state_dict().items()}
    summed = {name: weight.clone() for name, weight in own.items()}
    for kit, scale in zip(KIT_NAMES, (1.0, 0.5), strict=True):
        merged = JukeboxPrior.from_pretrained(folder / f"adapted-{kit}").state_dict()
        for name, weight in merged.items():
            summed[name] += scale * (weight - own[name])
        adapters.load_adapter(base, folder / f"adapted-{kit}", f"kit_{kit}", scale=scale)
    both = logits(base)
    plain = JukeboxPrior.from_pretrained(folder / "model" / "prior_2")
    before = logits(plain)
    plain.load_state_dict(summed)
    torch.testing.assert_close(both, logits(plain), atol=1e-3, rtol=1e-4)
    assert (both - before).abs().max() > 0.1
    adapters.unload_adapter(base)
    assert torch.equal(logits(base), before)


def test_a_run_with_two_adapters_has_both_names_and_is_resumed(folder: Path, tmp_path: Path) -> None:
    def load() -> JukeboxPipeline:
        pipe = JukeboxPipeline.from_pretrained(folder / "model")
        pipe.set_progress_bar_config(disable=True)
        return pipe

    pipe = load()
    for kit in KIT_NAMES:
        pipe.load_lora_weights(folder / f"adapted-{kit}", f"kit_{kit}")
    names = [f"kit {kit}" for kit in KIT_NAMES]
    assert set(names) < set(pipe.tokenizer.artists(2))
    options = {"audio_length_in_s": codes_in_s(16), "levels": (2,), "generator": 0, "artist": names}
    whole = pipe(**options, output_type="latent").codes[2]
    assert not torch.equal(whole[0], whole[1])
    pipe(**options, output_dir=tmp_path / "run", callback=lambda progress: progress.filled < 7)
    other = load()
    other.load_run_adapters(tmp_path / "run")
    assert torch.equal(other.resume_run(tmp_path / "run", output_type="latent").codes[2], whole)
    pipe.unload_lora_weights()
    assert not set(names) & set(pipe.tokenizer.artists(2))


def test_the_training_of_an_adapter_is_resumed_exactly_and_refuses_another_alpha(folder: Path) -> None:
    kit = KIT_NAMES[0]
    options = {"checkpointing_steps": 2, "lora_dropout": 0.1, "lora_target_modules": "qkv_proj fc1"}
    train_adapter(folder, kit, "whole", **options, max_train_steps=4)
    train_adapter(folder, kit, "cut", **options, max_train_steps=2)
    resumed = options | {"max_train_steps": 4, "resume_from_checkpoint": "latest"}
    with pytest.raises(ValueError, match=r"lora_alpha is 3\.0, not 7\.0"):
        train_adapter(folder, kit, "cut", **resumed, lora_alpha=7)
    train_adapter(folder, kit, "cut", **resumed)
    for file in ("model.safetensors", "adapter/adapter_model.safetensors", "adapter/jukebox_adapter.json"):
        assert (folder / "cut" / file).read_bytes() == (folder / "whole" / file).read_bytes()
    settings = (folder / "cut" / "adapter" / "adapter_config.json").read_text()
    assert '"lora_dropout": 0.1' in settings and "fc2" not in settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lora_alpha": 0}, "--lora_alpha must be above 0"),
        ({"lora_dropout": 1}, "--lora_dropout must be at least 0 and below 1"),
        ({"lora_target_modules": "fc1 fc9"}, "takes some of .*, not fc9"),
        ({"lora_rank": 0}, "need --lora_rank"),
    ],
)
def test_impossible_options_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, options, message) -> None:
    with pytest.raises(SystemExit) as stopped:
        train_adapter(tmp_path, "none", "out", **options)
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err)
