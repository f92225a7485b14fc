"""Doors: every function that reads files of others, each with a valid example of its input."""

from __future__ import annotations

import atexit
import io
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from fuzz.mutations import mutated_bytes, mutated_json, mutated_safetensors, mutated_text
from helpers.tiny import codes_in_s, tiny_pipeline, tiny_vqvae
from helpers.tiny_training import loop_arguments, vqvae_trainer
from hypothesis import strategies as st
from safetensors.torch import save

from hf_jukebox import (
    JukeboxPipeline,
    JukeboxPrior,
    JukeboxTokenizer,
    JukeboxVQVAE,
)
from hf_jukebox.adapters import load_adapter, unload_adapter
from hf_jukebox.audio import audio_info, read_audio
from hf_jukebox.audio.blocks import add_data
from hf_jukebox.convert import convert_openai, convert_transformers
from hf_jukebox.convert.openai_codes import read_published_codes
from hf_jukebox.labels.lyrics import Lyrics
from hf_jukebox.labels.vocabulary import load_vocabularies, read_ids
from hf_jukebox.presets import ALPHABET_V3
from hf_jukebox.runs.contents import RunReader
from hf_jukebox.runs.folder import JukeboxRun
from hf_jukebox.runs.song_files import open_song, song_data
from hf_jukebox.runs.song_requests import read_songs
from hf_jukebox.training.arguments import LoopArguments, parse_arguments
from hf_jukebox.training.checkpoint import load_checkpoint, read_progress
from hf_jukebox.training.data import CodeCache, encode_songs, songs_of_folder
from hf_jukebox.training.data.label_tables import read_alphabet

RATE = 8000
LONGEST_MESSAGE = 8000  # characters: some quote what they refuse


@dataclass(frozen=True)
class Door:
    """Reader of a file, with a strategy for contents of that file.

    Attributes:
        contents: Function that returns the strategy of contents to replace the valid file.
        enter: Function that reads a content; its second argument is an empty folder.
    """

    contents: Callable[[], st.SearchStrategy[bytes]]
    enter: Callable[[bytes, Path], object]


def tone(seconds: float = 0.3) -> np.ndarray:
    return (0.3 * np.sin(np.arange(int(seconds * RATE)) / 5)).astype(np.float32)


def sound(format: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(), RATE, format=format, subtype=subtype)
    return file.getvalue()


# Valid files, each made once ------------------------------------------------------------------------------------------


@cache
def workshop() -> Path:
    """Make a folder for valid files, removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="jukebox_fuzz_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def pipeline_folder() -> Path:
    folder = workshop() / "pipeline"
    tiny_pipeline("tiny_lyrics_prior").save_pretrained(folder)
    return folder


@cache
def run_folder() -> Path:
    folder = workshop() / "run"
    pipe = tiny_pipeline("tiny_labelled_prior")
    pipe(
        artist="night bus",
        audio_length_in_s=codes_in_s(6),
        levels=(2, 1),
        generator=torch.Generator().manual_seed(1),
        output_dir=folder,
        callback=lambda progress: progress.level > 1 or progress.filled < 10,
    )
    return folder


@cache
def song_folder() -> Path:
    folder = workshop() / "songs"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        soundfile.write(folder / name, np.tile(tone(), 4), RATE)
    return folder


@cache
def codes_folder() -> Path:
    folder = workshop() / "codes"
    encode_songs(songs_of_folder(song_folder()), tiny_vqvae(), folder)
    return folder


@cache
def checkpoint() -> tuple[Path, dict[str, torch.Tensor]]:
    trainer = vqvae_trainer(loop_arguments(workshop() / "trained", max_train_steps=1, checkpointing_steps=1))
    trainer.train()
    return workshop() / "trained" / "checkpoint-1", trainer.state.tensors()


@cache
def torch_file(*, zipped: bool = True, codes: bool = True) -> bytes:
    file = io.BytesIO()
    content: Any = {"zs": [torch.arange(8).view(1, 8), torch.arange(4).view(1, 4), torch.arange(2).view(1, 2)]}
    if not codes:
        content = {"model": {"a": torch.ones(3)}, "hps": {"sr": 44100, "downs_t": [3, 2], "level": 1}, "step": 3}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


@cache
def adapter() -> tuple[Path, JukeboxPrior]:
    prior = JukeboxPrior.from_pretrained(pipeline_folder() / "prior_0")
    layers = [name for name, layer in prior.named_modules() if name.endswith(("fc1", "qkv_proj"))][:2]
    weights = {}
    for name in layers:
        layer = prior.get_submodule(name)
        weights[f"base_model.model.{name}.lora_A.weight"] = torch.ones(2, layer.in_features)
        weights[f"base_model.model.{name}.lora_B.weight"] = torch.ones(layer.out_features, 2)
    folder = workshop() / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(save(weights))
    settings = {"peft_type": "LORA", "lora_alpha": 4, "r": 2, "alpha_pattern": {layers[0]: 8}, "use_rslora": False}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder, prior


def copied(folder: Path, to: Path, name: str, content: bytes) -> Path:
    """Copy a folder, and replace the content of one file."""
    shutil.copytree(folder, to)
    (to / name).write_bytes(content)
    return to


# Doors ----------------------------------------------------------------------------------------------------------------


def enter_audio(ending: str) -> Callable[[bytes, Path], object]:
    def enter(content: bytes, folder: Path) -> None:
        path = folder / f"a.{ending}"
        path.write_bytes(content)
        audio_info(path)
        read_audio(path, RATE)

    return enter


def enter_lyrics(content: bytes, folder: Path) -> None:
    lyrics = Lyrics.parse(content.decode("utf-8", "replace"), ALPHABET_V3)
    lyrics.window(16, total_length=10**6, offset=10**5, window_length=10**4, sampling_rate=RATE)


def enter_table(name: str) -> Callable[[bytes, Path], object]:
    def enter(content: bytes, folder: Path) -> None:
        shutil.copytree(song_folder(), folder / "songs")
        (folder / "songs" / name).write_bytes(content)
        songs_of_folder(folder / "songs")

    return enter


def enter_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    def enter(content: bytes, folder: Path) -> None:
        (folder / name).write_bytes(content)
        read(folder / name)

    return enter


def options(path: Path) -> None:
    try:
        parse_arguments([LoopArguments], "d", "e", ["--config", str(path)])
    except SystemExit as end:  # one line, as for every wrong option
        if end.code != 2:
            raise


def enter_run(name: str) -> Callable[[bytes, Path], object]:
    def enter(content: bytes, folder: Path) -> None:
        run = JukeboxRun.open(copied(run_folder(), folder / "run", name, content))
        assert run.seconds >= 0 and run.is_finished is not None
        run.codes, run.num_filled, run.audio_paths()
        for level in range(3):
            run.snapshots(level)

    return enter


def state_name() -> str:
    return next(str(path.relative_to(run_folder())) for path in run_folder().glob("state/*.safetensors"))


def enter_state(content: bytes, folder: Path) -> None:
    enter_run(state_name())(content, folder)


@cache
def song_in_a_file() -> bytes:
    return song_data(RunReader.open(run_folder()), 0, {})


def with_song(ending: str, data: bytes, folder: Path) -> Path:
    path = folder / f"song.{ending}"
    soundfile.write(path, tone(), RATE)
    add_data(path, data)
    return path


def flac_with_song() -> bytes:
    return with_song("flac", song_in_a_file(), workshop()).read_bytes()


def enter_song_file(content: bytes, folder: Path) -> None:
    (folder / "song.flac").write_bytes(content)
    open_song(folder / "song.flac", folder / "opened")


def enter_song_data(content: bytes, folder: Path) -> None:
    run = JukeboxRun.open(open_song(with_song("wav", content, folder), folder / "opened"))
    assert run.is_finished and run.codes


def enter_model(content: bytes, folder: Path) -> None:
    JukeboxVQVAE.from_pretrained(copied(pipeline_folder() / "vqvae", folder / "m", "model.safetensors", content))


def enter_index(content: bytes, folder: Path) -> None:
    JukeboxPipeline.from_pretrained(copied(pipeline_folder(), folder / "p", "model_index.json", content))


def enter_config(content: bytes, folder: Path) -> None:
    JukeboxPrior.from_pretrained(copied(pipeline_folder() / "prior_2", folder / "p", "config.json", content))


def enter_vqvae_config(content: bytes, folder: Path) -> None:
    JukeboxVQVAE.from_pretrained(copied(pipeline_folder() / "vqvae", folder / "p", "config.json", content))


def enter_shard_index(content: bytes, folder: Path) -> None:
    shutil.copytree(pipeline_folder() / "vqvae", folder / "m")
    (folder / "m" / "model.safetensors").rename(folder / "m" / "model-00001-of-00001.safetensors")
    (folder / "m" / "model.safetensors.index.json").write_bytes(content)
    JukeboxVQVAE.from_pretrained(folder / "m")


def enter_tokenizer(name: str) -> Callable[[bytes, Path], object]:
    def enter(content: bytes, folder: Path) -> None:
        JukeboxTokenizer.from_pretrained(copied(pipeline_folder() / "tokenizer", folder / "t", name, content))

    return enter


def enter_vocabularies(content: bytes, folder: Path) -> None:
    files = ("artists.json", "genres.json", "lyrics.json")
    for file in files:
        shutil.copy(pipeline_folder() / "tokenizer" / file, folder / file)
    (folder / files[len(content) % 3]).write_bytes(content)
    load_vocabularies([folder / file for file in files])


def enter_codes(name: str) -> Callable[[bytes, Path], object]:
    def enter(content: bytes, folder: Path) -> None:
        cache = CodeCache(copied(codes_folder(), folder / "c", name, content))
        for song in cache.songs:
            for level, hop in enumerate(cache.config.hop_lengths):
                length = song.num_samples // cache.config.hop_lengths[-1] * cache.config.hop_lengths[-1] // hop
                assert cache.read(song, level, 0, length).shape == (length,)

    return enter


def enter_checkpoint(name: str) -> Callable[[bytes, Path], object]:
    def enter(content: bytes, folder: Path) -> None:
        good, tensors = checkpoint()
        copy = copied(good, folder / "checkpoint-1", name, content)
        read_progress(copy)
        load_checkpoint(copy, {key: value.clone() for key, value in tensors.items()})

    return enter


def state_file(index: int) -> str:
    good, _ = checkpoint()
    return f"training_state/{sorted(path.name for path in (good / 'training_state').glob('*.safetensors'))[index]}"


def enter_original(content: bytes, folder: Path) -> None:
    for name in ("vqvae", "prior"):
        (folder / f"{name}.pth.tar").write_bytes(content if name == "vqvae" else torch_file(codes=False))
    paths = [folder / "prior.pth.tar"] * 2
    convert_openai(folder / "vqvae.pth.tar", paths, folder / "out")


HPARAMS = {
    "vqvae": {
        "sr": 22050, "downs_t": [3, 2], "strides_t": [2, 2], "l_bins": 16, "emb_width": 8, "width": 8, "depth": 2,
        "dilation_growth_rate": 3, "hvqvae_multipliers": [1, 1],
    },
    "priors": {
        "prior": {
            "level": 0, "n_ctx": 32, "prior_width": 8, "prior_depth": 2, "heads": 1, "attn_order": 2, "blocks": 4,
            "cond_width": 8, "cond_depth": 2, "cond_dilation_growth_rate": 3, "y_bins": [3, 4], "t_bins": 8,
            "min_duration": 1.0, "max_duration": 60.0, "max_bow_genre_size": 1, "use_tokens": True, "n_tokens": 8,
            "prime_loss_fraction": 0.4, "n_vocab": 79, "labels": False,
        }
    },
}  # fmt: skip


def enter_hparams(content: bytes, folder: Path) -> None:
    (folder / "hparams.json").write_bytes(content)
    for name in ("vqvae", "prior"):
        (folder / f"{name}.pth.tar").write_bytes(torch_file(codes=False))
    paths = [folder / "prior.pth.tar"] * 2
    convert_openai(folder / "vqvae.pth.tar", paths, folder / "out", hparams=folder / "hparams.json")


TRANSFORMERS = Path(__file__).parents[1] / "fixtures/golden/transformers"


def enter_transformers(content: bytes, folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "config.json").write_bytes(content)
    (folder / "in" / "pytorch_model.bin").write_bytes(torch_file(codes=False))
    convert_transformers(folder / "in", folder / "out")


def enter_adapter(name: str) -> Callable[[bytes, Path], object]:
    def enter(content: bytes, folder: Path) -> None:
        good, prior = adapter()
        load_adapter(prior, copied(good, folder / "a", name, content))
        unload_adapter(prior)

    return enter


def json_of(path: Callable[[], Path]) -> Callable[[], st.SearchStrategy[bytes]]:
    return lambda: mutated_json(json.loads(path().read_text("utf-8")))


def tensors_of(path: Callable[[], Path]) -> Callable[[], st.SearchStrategy[bytes]]:
    return lambda: mutated_safetensors(path().read_bytes())


def text(good: str) -> Callable[[], st.SearchStrategy[bytes]]:
    return lambda: mutated_text(good)


def sounds(format: str, subtype: str | None = None) -> Callable[[], st.SearchStrategy[bytes]]:
    return lambda: mutated_bytes(sound(format, subtype))


LRC = "[ar:Somebody]\n[offset:500]\n[00:01.50]We turn the tide\n[00:03.00][00:09.00]<00:03.50>and go\nno stamp\n"
CSV = "file_name,artist,genre,lyrics\na.wav,Ella,Jazz,one\\ntwo\nb.wav,,,\n"
JSONL = '{"file_name": "a.wav", "artist": "Ella"}\n{"file_name": "b.wav", "lyrics": "one\\u2028two"}\n'
YAML = "- name: one\n  artist: Ella\n  seconds: 3\n- prompt: a.wav\n  lyrics: |\n    two\n    lines\n  seed: 7\n"
OPTIONS = "output_dir: x\nmax_train_steps: 10\nlearning_rate: 1e-3\nuse_ema: false\n"
SONGS = '{"name": "one", "artist": "Ella", "seconds": 3}\n{"prompt": "a.wav", "seed": 7, "offset_seconds": 1.5}\n'

DOORS: dict[str, Door] = {
    "wav": Door(sounds("WAV", "PCM_16"), enter_audio("wav")),
    "float wav": Door(sounds("WAV", "FLOAT"), enter_audio("wav")),
    "flac": Door(sounds("FLAC"), enter_audio("flac")),
    "ogg": Door(sounds("OGG"), enter_audio("ogg")),
    "mp3": Door(sounds("MP3"), enter_audio("mp3")),
    "lyrics": Door(text(LRC), enter_lyrics),
    "metadata.csv": Door(text(CSV), enter_table("metadata.csv")),
    "metadata.jsonl": Door(text(JSONL), enter_table("metadata.jsonl")),
    "a.lrc": Door(text(LRC), enter_table("a.lrc")),
    "requests yaml": Door(text(YAML), enter_file("r.yaml", read_songs)),
    "requests jsonl": Door(text(SONGS), enter_file("r.jsonl", read_songs)),
    "training options": Door(text(OPTIONS), enter_file("o.yaml", options)),
    "alphabet": Door(text(ALPHABET_V3), enter_file("a.txt", read_alphabet)),
    "name table": Door(text("unknown;0\nella;1\nmiles;2\n"), enter_file("v3_artist_ids.txt", read_ids)),
    "request.json": Door(json_of(lambda: run_folder() / "request.json"), enter_run("request.json")),
    "codes of a level": Door(
        tensors_of(lambda: run_folder() / "codes/level_2.safetensors"), enter_run("codes/level_2.safetensors")
    ),
    "state": Door(tensors_of(lambda: run_folder() / state_name()), enter_state),
    "song file": Door(lambda: mutated_bytes(flac_with_song()), enter_song_file),
    "song in a file": Door(lambda: mutated_safetensors(song_in_a_file()), enter_song_data),
    "published codes": Door(lambda: mutated_bytes(torch_file()), enter_file("data.pth.tar", read_published_codes)),
    "published codes, old format": Door(
        lambda: mutated_bytes(torch_file(zipped=False)), enter_file("data.pth.tar", read_published_codes)
    ),
    "original checkpoint": Door(lambda: mutated_bytes(torch_file(codes=False)), enter_original),
    "hparams": Door(lambda: mutated_json(HPARAMS), enter_hparams),
    "transformers config": Door(json_of(lambda: TRANSFORMERS / "config.json"), enter_transformers),
    "prior config": Door(json_of(lambda: pipeline_folder() / "prior_2/config.json"), enter_config),
    "vqvae config": Door(json_of(lambda: pipeline_folder() / "vqvae/config.json"), enter_vqvae_config),
    "weights": Door(tensors_of(lambda: pipeline_folder() / "vqvae/model.safetensors"), enter_model),
    "index of shards": Door(
        lambda: mutated_json({"metadata": {"total_size": 1}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}),
        enter_shard_index,
    ),
    "model_index.json": Door(json_of(lambda: pipeline_folder() / "model_index.json"), enter_index),
    "artists.json": Door(
        json_of(lambda: pipeline_folder() / "tokenizer/artists.json"), enter_tokenizer("artists.json")
    ),
    "tables": Door(json_of(lambda: pipeline_folder() / "tokenizer/lyrics.json"), enter_vocabularies),
    "tokenizer_config.json": Door(
        json_of(lambda: pipeline_folder() / "tokenizer/tokenizer_config.json"),
        enter_tokenizer("tokenizer_config.json"),
    ),
    "adapter_config.json": Door(
        json_of(lambda: adapter()[0] / "adapter_config.json"), enter_adapter("adapter_config.json")
    ),
    "adapter": Door(
        tensors_of(lambda: adapter()[0] / "adapter_model.safetensors"), enter_adapter("adapter_model.safetensors")
    ),
    "index of codes": Door(json_of(lambda: codes_folder() / "index.json"), enter_codes("index.json")),
    "shard of codes": Door(
        tensors_of(lambda: codes_folder() / "codes-00000.safetensors"), enter_codes("codes-00000.safetensors")
    ),
    "progress.json": Door(
        json_of(lambda: checkpoint()[0] / "training_state/progress.json"),
        enter_checkpoint("training_state/progress.json"),
    ),
    "training state": Door(
        tensors_of(lambda: checkpoint()[0] / state_file(-1)),
        lambda content, folder: enter_checkpoint(state_file(-1))(content, folder),
    ),
    "random states": Door(
        tensors_of(lambda: checkpoint()[0] / state_file(0)),
        lambda content, folder: enter_checkpoint(state_file(0))(content, folder),
    ),
}


def check(door: Door, content: bytes, folder: Path) -> None:
    """Enter a door, and check that it accepts the content or raises a ValueError or OSError of one sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            door.enter(content, folder)
        except (ValueError, OSError) as error:
            if isinstance(error, UnicodeError) or len(str(error)) > LONGEST_MESSAGE:
                raise AssertionError(f"no sentence: {str(error)[:200]}") from error
