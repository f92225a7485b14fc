"""Converted checkpoints of OpenAI's code have the measured outputs; other files are rejected and leave nothing."""

from __future__ import annotations

import json
import math
import resource
import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from helpers import cards
from helpers.golden import IDS, ORIGINAL, PRIORS, checkpoint, golden_pipeline_folder, golden_prior, golden_vqvae
from helpers.refusals import refusal_to_write
from helpers.tiny import tiny_prior, tiny_vqvae
from safetensors.torch import load_file

from hf_jukebox import JukeboxPipeline, JukeboxPrior, JukeboxVQVAE
from hf_jukebox.convert import convert_openai
from hf_jukebox.convert.names import is_transposed, name_in_file
from hf_jukebox.presets import PRIOR_PRESETS, VQVAE_PRESETS

HPARAMS = ORIGINAL / "hparams.json"
UPSAMPLERS = ["upsampler_level_0", "upsampler_level_1"]
Checkpoint = dict[str, Any]


prior_of = cache(golden_prior)


@cache
def measured_of(name: str) -> dict[str, torch.Tensor]:
    return load_file(ORIGINAL / f"{name}_expected.safetensors")


def convert(output: Path, **changes: Any) -> None:
    """Convert the `5b` pipeline, with some arguments replaced."""
    options = {"vqvae": checkpoint("vqvae"), "priors": [checkpoint(name) for name in (*UPSAMPLERS, "prior_5b")]}
    convert_openai(**(options | {"output": output, "ids": IDS} | changes))


def saved_again(
    name: str, folder: Path, change: Callable[[Checkpoint], Any] | None = None, zipped: bool = True
) -> Path:
    """Save a golden checkpoint with a change, in either format of torch."""
    content = torch.load(checkpoint(name), weights_only=True)
    if change is not None:
        change(content)
    path = folder / f"{name}.pth.tar"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def with_top(path: Path) -> list[Path]:
    return [*map(checkpoint, UPSAMPLERS), path]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, without the card, which names the folder."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "README.md"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def refusal(output: Path, error: type[Exception] = ValueError, **changes: Any) -> str:
    """Return the one sentence of the error, and check that nothing is left behind."""
    return refusal_to_write(output.parent, lambda: convert(output, **changes), error)


@pytest.fixture(scope="module")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden_pipeline_folder("prior_5b", tmp_path_factory.mktemp("converted"))


# The golden files -----------------------------------------------------------------------------------------------------


def test_a_converted_vqvae_has_the_measured_outputs():
    vqvae, measured = golden_vqvae(), measured_of("vqvae")
    for level, codes in enumerate(vqvae.encode(measured["x"])):
        assert torch.equal(codes, measured[f"codes_{level}"].long())
        assert (vqvae.decode(codes, level) - measured[f"decoded_from_{level}"]).abs().max() <= 1e-4
    assert not vqvae.training and all(quantizer.initialized for quantizer in vqvae.quantizers)


@pytest.mark.parametrize("name", PRIORS)
def test_a_converted_prior_has_the_measured_outputs(name: str):
    prior, measured = prior_of(name), measured_of(name)
    n_lyrics, shift = prior.config.num_joint_lyrics, prior._code_shift
    for start in (0, 16):
        labels = measured[f"y_{start}"] if prior.config.has_labels else None
        with torch.no_grad():
            out = prior(measured[f"z_{start}"], measured.get(f"z_cond_{start}"), labels)
        logits = measured[f"preds_{start}"]
        assert (out.logits - logits[:, n_lyrics:, shift:]).abs().max() <= 1e-3
        if n_lyrics:
            assert (out.lyrics_logits - logits[:, :n_lyrics]).abs().max() <= 1e-3
        for loss, expected in ((out.loss, "loss"), (out.code_loss, "gen_loss"), (out.lyrics_loss, "prime_loss")):
            if loss is not None:
                assert math.isclose(loss, measured[f"{expected}_{start}"], rel_tol=1e-4)


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize(("known", "expected"), [(0, "ancestral"), (16, "primed_half"), (7, "primed_7")])
def test_a_converted_prior_samples_the_measured_greedy_codes(name: str, known: int, expected: str):
    prior, measured = prior_of(name), measured_of(name)
    codes, state = measured["z_0"][:, :known], prior.init_state(2)
    prior.prefill(state, codes, measured.get("z_cond_0"), measured["y_0"] if prior.config.has_labels else None)
    for position in range(known, prior.config.n_ctx):
        previous = codes[:, -1] if position else torch.zeros(2, dtype=torch.long)
        drawn = prior.step(state, previous, torch.tensor([position])).argmax(-1, keepdim=True)
        codes = torch.cat([codes, drawn], dim=1)
    assert torch.equal(codes, measured[f"greedy_{expected}"].long())


@pytest.mark.parametrize("name", ["prior_5b_lyrics", "prior_1b_lyrics", "small_sep_enc_dec"])
def test_a_converted_prior_has_the_measured_alignment(name: str):
    prior, measured = prior_of(name), measured_of(name)
    assert (prior.alignment(measured["z_0"], measured["y_0"]) - measured["alignment"]).abs().max() <= 1e-4


# The folder -----------------------------------------------------------------------------------------------------------


def test_the_folder_equals_that_of_save_pretrained(pipeline_folder: Path, tmp_path: Path):
    pipe = JukeboxPipeline.from_pretrained(pipeline_folder)
    pipe.save_pretrained(tmp_path / "saved")
    ours, theirs = files_of(pipeline_folder), files_of(tmp_path / "saved")
    assert ours.keys() == theirs.keys()
    for name in ours.keys() & theirs.keys():
        if name.endswith(".safetensors"):
            old, new = load_file(pipeline_folder / name), load_file(tmp_path / "saved" / name)
            assert old.keys() == new.keys() and all(torch.equal(old[key], new[key]) for key in old)
        elif name.endswith("config.json") or name == "model_index.json":
            old, new = json.loads(ours[name]), json.loads(theirs[name])
            assert old == {key: new[key] for key in old}  # transformers and diffusers add where a model came from
        else:
            assert ours[name] == theirs[name]


def test_names_and_alphabets_are_converted(tmp_path: Path):
    pipe = JukeboxPipeline.from_pretrained(golden_pipeline_folder("prior_1b_lyrics", tmp_path))
    assert [pipe.tokenizer.vocabularies[level].rules for level in range(3)] == ["v2", "v2", "v3"]
    assert "n.w.a" in pipe.tokenizer.artists(2) and "n_w_a" in pipe.tokenizer.artists(0)
    assert pipe.tokenizer.vocabularies[2].n_lyrics == 8 and len(pipe.tokenizer.vocabularies[2].alphabet) == 78


def test_the_card_states_the_licence_and_its_python_runs(
    pipeline_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    card = (pipeline_folder / "README.md").read_text(encoding="utf-8")
    assert "for non-commercial purposes only" in card and "prior_5b.pth.tar" in card and str(ORIGINAL) not in card
    assert cards.front_matter(card)["license_name"] == "jukebox-noncommercial"
    (tmp_path / pipeline_folder.name).symlink_to(pipeline_folder)
    monkeypatch.chdir(tmp_path)
    pipe = cards.run_python(card)["pipe"]
    assert (tmp_path / "piece").is_dir()
    licences = [part.config.weights_license for part in (pipe.vqvae, *pipe.priors)]
    assert licences == ["jukebox-noncommercial"] * 4


def test_without_labels_there_is_no_tokenizer(tmp_path: Path):
    def unlabelled(content: Checkpoint) -> None:
        content["hps"]["labels"] = False
        artists = content["model"].pop("y_emb.artist_emb.emb.weight")
        content["model"].pop("y_emb.bow_genre_emb.emb.weight")
        content["model"]["prior.start_token"] = artists[:1]

    priors = [*(saved_again(name, tmp_path, unlabelled) for name in UPSAMPLERS), checkpoint("small_prior")]
    convert(tmp_path / "out", priors=priors, ids=None)
    assert JukeboxPipeline.from_pretrained(tmp_path / "out").tokenizer is None
    assert not (tmp_path / "out" / "tokenizer").exists()


# Variants of checkpoints ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_both_serialisations_are_read(pipeline_folder: Path, tmp_path: Path, zipped: bool):
    vqvae, *priors = (saved_again(name, tmp_path, zipped=zipped) for name in ("vqvae", *UPSAMPLERS, "prior_5b"))
    convert(tmp_path / "out", vqvae=vqvae, priors=priors)
    assert files_of(tmp_path / "out") == files_of(pipeline_folder)


def test_a_prefix_of_parallel_training_and_optimizer_state_are_ignored(pipeline_folder: Path, tmp_path: Path):
    def trained_in_parallel(content: Checkpoint) -> None:
        content["model"] = OrderedDict((f"module.{name}", tensor) for name, tensor in content["model"].items())
        content["opt"] = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}

    priors = [saved_again(name, tmp_path, trained_in_parallel) for name in (*UPSAMPLERS, "prior_5b")]
    convert(tmp_path / "out", vqvae=saved_again("vqvae", tmp_path, trained_in_parallel), priors=priors)
    assert files_of(tmp_path / "out") == files_of(pipeline_folder)


@pytest.mark.parametrize("zipped", [True, False])
def test_settings_in_a_class_of_openais_code_are_read(
    pipeline_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
):
    hyperparams = type("Hyperparams", (dict,), {"__module__": "jukebox.hparams"})

    def with_class(content: Checkpoint) -> None:
        content["hps"] = hyperparams(content["hps"])

    with monkeypatch.context() as written_elsewhere:
        module = ModuleType("jukebox.hparams")
        module.Hyperparams = hyperparams
        written_elsewhere.setitem(sys.modules, "jukebox", ModuleType("jukebox"))
        written_elsewhere.setitem(sys.modules, "jukebox.hparams", module)
        path = saved_again("prior_5b", tmp_path, with_class, zipped)
    convert(tmp_path / "out", priors=with_top(path))
    assert files_of(tmp_path / "out") == files_of(pipeline_folder)


def without_settings(content: Checkpoint) -> None:
    del content["hps"]


def test_settings_are_read_from_a_file(pipeline_folder: Path, tmp_path: Path):
    vqvae, *priors = (saved_again(name, tmp_path, without_settings) for name in ("vqvae", *UPSAMPLERS, "prior_5b"))
    convert(tmp_path / "out", vqvae=vqvae, priors=priors, hparams=HPARAMS)
    assert files_of(tmp_path / "out") == files_of(pipeline_folder)


def test_settings_of_one_model_are_read_from_a_file(pipeline_folder: Path, tmp_path: Path):
    vqvae = saved_again("vqvae", tmp_path, without_settings)
    (tmp_path / "settings.json").write_text(json.dumps(json.loads(HPARAMS.read_text())["vqvae"]))
    convert(tmp_path / "out", vqvae=vqvae, hparams=tmp_path / "settings.json")
    assert files_of(tmp_path / "out") == files_of(pipeline_folder)


def test_settings_of_a_released_model_are_used(pipeline_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    configs = {"vqvae": VQVAE_PRESETS, "prior_0": PRIOR_PRESETS, "prior_1": PRIOR_PRESETS, "prior_2": PRIOR_PRESETS}
    presets, tables = ("5b", *UPSAMPLERS, "prior_5b"), ("artists", "genres")
    for (part, table), preset in zip(configs.items(), presets, strict=True):  # the released ones take gigabytes
        config = json.loads((pipeline_folder / part / "config.json").read_text())
        monkeypatch.setitem(table, preset, {name: value for name, value in config.items() if name not in tables})
    vqvae, *priors = (saved_again(name, tmp_path, without_settings) for name in ("vqvae", *UPSAMPLERS, "prior_5b"))
    convert(tmp_path / "out", vqvae=vqvae, priors=priors, preset="5b")
    assert files_of(tmp_path / "out") == files_of(pipeline_folder)


def test_every_tensor_keeps_its_precision(tmp_path: Path):
    def published_half(content: Checkpoint) -> None:
        for name, tensor in content["model"].items():
            if name.endswith(".w"):
                content["model"][name] = tensor.half()

    convert(tmp_path / "out", priors=with_top(saved_again("prior_5b", tmp_path, published_half)))
    weights = load_file(tmp_path / "out" / "prior_2" / "model.safetensors")
    assert {tensor.dtype for name, tensor in weights.items() if "_proj.weight" in name} == {torch.float16}
    assert {tensor.dtype for name, tensor in weights.items() if "embedding" in name} == {torch.float32}
    prior = JukeboxPrior.from_pretrained(tmp_path / "out" / "prior_2")
    assert prior.transformer.dtype == torch.float16 and prior.head.weight.dtype == torch.float32
    prior = JukeboxPrior.from_pretrained(tmp_path / "out" / "prior_2", dtype=torch.float32)
    measured = measured_of("prior_5b")
    with torch.no_grad():
        loss = prior(measured["z_0"], labels=measured["y_0"]).code_loss
    assert math.isclose(loss, measured["gen_loss_0"], rel_tol=1e-2)


def test_tensors_that_share_memory_are_converted(pipeline_folder: Path, tmp_path: Path):
    def flat(content: Checkpoint) -> None:
        tensors = content["model"]
        memory = torch.cat([tensor.flatten() for tensor in tensors.values()])
        parts = memory.split([tensor.numel() for tensor in tensors.values()])
        content["model"] = {name: part.view_as(tensors[name]) for name, part in zip(tensors, parts, strict=True)}

    convert(tmp_path / "out", priors=with_top(saved_again("prior_5b", tmp_path, flat)))
    assert files_of(tmp_path / "out") == files_of(pipeline_folder)


def test_converted_codebooks_can_be_trained_on(pipeline_folder: Path):
    vqvae = JukeboxVQVAE.from_pretrained(pipeline_folder / "vqvae").train()
    before = vqvae.quantizers[0].codebook.clone()
    vqvae(measured_of("vqvae")["x"])
    assert torch.isfinite(vqvae.quantizers[0].codebook).all()
    # The running sums were restored: the rows that are used often have moved a little and were not reset.
    assert ((vqvae.quantizers[0].codebook - before).norm(dim=1) < 0.5 * before.norm(dim=1)).any()


def test_a_model_of_two_levels_is_converted(tmp_path: Path):
    vqvae = tiny_vqvae(downs_t=[3, 2], strides_t=[2, 2], multipliers=[2, 1])
    models = {
        "vqvae": vqvae,
        "lower": tiny_prior("tiny_upsampler"),
        "upper": tiny_prior("tiny_prior", level=1, hop_length=32),
    }
    small = {
        "n_ctx": 64,
        "prior_width": 32,
        "prior_depth": 3,
        "heads": 1,
        "attn_order": 2,
        "blocks": 8,
        "labels": False,
    }
    conditioner = {"cond_width": 16, "cond_depth": 4, "cond_dilation_growth_rate": 3, "cond_dilation_cycle": 2}
    settings = {
        "vqvae": {"sr": 22050, "downs_t": (3, 2), "strides_t": (2, 2), "l_bins": 64, "emb_width": 16, "width": 8}
        | {"depth": 2, "dilation_growth_rate": 3, "hvqvae_multipliers": (2, 1)},
        "lower": small | conditioner | {"level": 0},
        "upper": small | {"level": 1},
    }
    for name, model in models.items():
        tensors = {}
        for ours, tensor in model.state_dict().items():
            if not ours.startswith("quantizers.") or ours.endswith(".codebook"):
                tensor = tensor.t() if is_transposed(ours) else tensor[None] if ours == "start_embedding" else tensor
                tensors[name_in_file(ours, "openai", vqvae.config.downs_t)] = tensor.contiguous()
        torch.save({"model": tensors, "hps": settings[name]}, tmp_path / f"{name}.pth.tar")
    convert(
        tmp_path / "out",
        vqvae=tmp_path / "vqvae.pth.tar",
        priors=[tmp_path / "lower.pth.tar", tmp_path / "upper.pth.tar"],
        ids=None,
    )
    pipe = JukeboxPipeline.from_pretrained(tmp_path / "out")
    assert pipe.prior_2 is None
    for converted, model in zip((pipe.vqvae, *pipe.priors), models.values(), strict=True):
        for name, tensor in model.state_dict().items():
            if "running" not in name:
                assert torch.equal(converted.state_dict()[name], tensor)


# Files that do not fit ------------------------------------------------------------------------------------------------


def test_tensors_that_do_not_fit_are_listed(tmp_path: Path):
    def spoiled(content: Checkpoint) -> None:
        tensors = content["model"]
        tensors["prior.extra.w"] = tensors.pop("prior.transformer._attn_mods.3.mlp.c_fc.w")
        tensors["prior.transformer._attn_mods.1.attn.c_attn.w"] = torch.zeros(32, 25)

    message = refusal(tmp_path / "out", priors=with_top(saved_again("prior_5b", tmp_path, spoiled)))
    assert "prior_5b.pth.tar" in message
    assert "missing prior.transformer._attn_mods.3.mlp.c_fc.w" in message
    assert "unexpected prior.extra.w" in message
    assert "prior.transformer._attn_mods.1.attn.c_attn.w is [32, 25] instead of [32, 24]" in message


def test_long_lists_of_names_are_shortened(tmp_path: Path):
    priors = [checkpoint(name) for name in (*UPSAMPLERS, "prior_5b_lyrics")]
    message = refusal(tmp_path / "out", priors=priors, preset="5b_lyrics")
    assert "more" in message and len(message) < 3000


def test_an_untied_output_matrix_needs_its_setting(tmp_path: Path):
    def without_merged_decoder(content: Checkpoint) -> None:
        content["hps"]["merged_decoder"] = False

    message = refusal(tmp_path / "out", priors=with_top(saved_again("prior_5b", tmp_path, without_merged_decoder)))
    assert "prior.x_out.weight and prior.x_emb.weight, which differ" in message


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_a_truncated_checkpoint_is_reported(tmp_path: Path, zipped: bool, share: float):
    path = saved_again("prior_5b", tmp_path, zipped=zipped)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "damaged" in refusal(tmp_path / "out", priors=with_top(path))


def test_a_file_that_is_not_a_checkpoint_is_rejected(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("These are no weights.\n" * 9)
    assert "not a torch checkpoint" in refusal(tmp_path / "out", vqvae=path)
    torch.save([1, 2], path)
    assert "list" in refusal(tmp_path / "out", vqvae=path)
    torch.save({"state_dict": {}}, path)
    assert "'model'" in refusal(tmp_path / "out", vqvae=path)
    torch.save({"model": {"step": 3}}, path)
    assert "'step' is not a tensor" in refusal(tmp_path / "out", vqvae=path)


@pytest.mark.parametrize("name", ["broken.pth.tar", "page.pth.tar", "page.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html><body>404: Not Found</body></html>"])
def test_failed_downloads_are_rejected(tmp_path: Path, name: str, content: bytes):
    path = tmp_path / name
    path.write_bytes(content)
    message = refusal(tmp_path / "out", vqvae=path)
    assert str(path) in message and "download it again" in message


@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_scalars_among_the_settings_are_read(pipeline_folder: Path, tmp_path: Path, zipped: bool):
    def measured(content: Checkpoint) -> None:
        bandwidth = {"l1": np.float64(0.1), "l2": np.float32(0.2), "songs": np.int64(3), "ok": np.bool_(True)}
        content["hps"]["bandwidth"] = bandwidth
        content["hps"]["bins"] = np.int64(content["hps"].get("bins", 64))
        content["hps"]["lr"] = np.float64(0.0003)

    path = saved_again("prior_5b", tmp_path, measured, zipped=zipped)
    convert(tmp_path / "out", priors=with_top(path))
    assert files_of(tmp_path / "out") == files_of(pipeline_folder)


class Intruder:
    """Object whose unpickling makes a call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_rejected_and_not_run(tmp_path: Path, zipped: bool):
    def infected(content: Checkpoint) -> None:
        content["hps"]["sr"] = Intruder(tmp_path / "ran")

    path = saved_again("prior_5b", tmp_path, infected, zipped=zipped)
    assert "code" in refusal(tmp_path / "out", priors=with_top(path))
    assert not (tmp_path / "ran").exists()


def test_missing_files_are_named(tmp_path: Path):
    assert "nothing.pth.tar" in refusal(tmp_path / "out", FileNotFoundError, vqvae=tmp_path / "nothing.pth.tar")
    priors = with_top(tmp_path / "nothing.pth.tar")
    assert "nothing.pth.tar" in refusal(tmp_path / "out", FileNotFoundError, priors=priors)
    assert "nothing.json" in refusal(tmp_path / "out", FileNotFoundError, hparams=tmp_path / "nothing.json")


def test_the_number_and_order_of_priors_are_checked(tmp_path: Path):
    names = [*UPSAMPLERS, "prior_5b"]
    for given in (names[:2], [*names, "prior_5b"], []):
        assert "3 levels" in refusal(tmp_path / "out", priors=[checkpoint(name) for name in given])
    message = refusal(tmp_path / "out", priors=[checkpoint(name) for name in reversed(names)])
    assert "level 2 in place of level 0" in message and "finest" in message


def test_tables_of_names_are_read_and_checked(tmp_path: Path):
    message = refusal(tmp_path / "out", ids=None)
    assert "v2_artist_ids.txt" in message and "upsampler_level_0" in message
    assert "v2_artist_ids.txt" in refusal(tmp_path / "out", FileNotFoundError, ids=tmp_path)
    for table in IDS.iterdir():
        (tmp_path / table.name).write_bytes(table.read_bytes())
    with (tmp_path / "v2_genre_ids.txt").open("a", encoding="utf-8") as table:
        table.write("polka;10\n")
    message = refusal(tmp_path / "out", ids=tmp_path)
    assert "v2_genre_ids.txt" in message and "10" in message


def test_unusable_settings_are_reported(tmp_path: Path):
    path = saved_again("prior_5b", tmp_path, without_settings)
    message = refusal(tmp_path / "out", priors=with_top(path))
    assert "preset" in message and "1b_lyrics" in message and "hparams" in message

    def narrow(content: Checkpoint) -> None:
        content["hps"]["heads"] = 3
        del content["hps"]["prior_depth"]

    message = refusal(tmp_path / "out", priors=with_top(saved_again("prior_5b", tmp_path, narrow)))
    assert "prior_5b.pth.tar" in message and "prior_depth" in message
    heads = {"prior_5b": json.loads(HPARAMS.read_text())["priors"]["prior_5b"] | {"heads": 3}}
    (tmp_path / "heads.json").write_text(json.dumps(heads))
    assert "heads" in refusal(tmp_path / "out", hparams=tmp_path / "heads.json")
    (tmp_path / "list.json").write_text("[1]")
    assert "JSON" in refusal(tmp_path / "out", hparams=tmp_path / "list.json")
    (tmp_path / "cut.json").write_text('{"vqvae": ')
    assert "JSON" in refusal(tmp_path / "out", hparams=tmp_path / "cut.json")
    assert "1b_lyrics" in refusal(tmp_path / "out", preset="2b")
    assert "not both" in refusal(tmp_path / "out", preset="5b", hparams=HPARAMS)


def test_an_unpublished_alphabet_is_rejected(tmp_path: Path):
    def cyrillic(content: Checkpoint) -> None:
        content["hps"]["n_vocab"] = 99

    top = saved_again("prior_5b_lyrics", tmp_path, cyrillic)
    assert "99" in refusal(tmp_path / "out", priors=with_top(top))


# The output -----------------------------------------------------------------------------------------------------------


def test_the_output_folder_must_be_new(tmp_path: Path, pipeline_folder: Path):
    (tmp_path / "file").write_text("mine")
    assert "is a file" in refusal(tmp_path / "file", FileExistsError)
    assert "not empty" in refusal(tmp_path, FileExistsError)
    with pytest.raises(OSError, match="cannot be written"):
        convert(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    convert(tmp_path / "empty")
    assert files_of(tmp_path / "empty") == files_of(pipeline_folder)
    convert(tmp_path / "new" / "nested")
    assert files_of(tmp_path / "new" / "nested") == files_of(pipeline_folder)


def test_a_full_disk_leaves_no_folder(tmp_path: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # of a file, in bytes
    try:
        assert "Cannot write" in refusal(tmp_path / "out", OSError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
