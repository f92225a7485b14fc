"""The precision of a pipeline, however it is set: half precision applies to the priors' blocks only."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox import JukeboxPipeline, JukeboxPriorConfig, JukeboxVQVAE

HALVES = [torch.bfloat16, torch.float16]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    tiny_pipeline("tiny_labelled_prior").save_pretrained(folder)
    return folder


def precisions(pipe: JukeboxPipeline) -> dict[str, torch.dtype]:
    parts = {"vqvae": pipe.vqvae, **{f"prior_{level}": prior for level, prior in enumerate(pipe.priors)}}
    return {
        f"{part}.{name}": weight.dtype for part, model in parts.items() for name, weight in model.state_dict().items()
    }


def codes_of(pipe: JukeboxPipeline) -> list[torch.Tensor]:
    pipe.set_progress_bar_config(disable=True)
    prompt = (noise_audio(codes_in_s(3)), 22050)
    return pipe(prompt, audio_length_in_s=codes_in_s(8), total_length_in_s=2.0, generator=1).codes


@pytest.mark.parametrize("dtype", HALVES)
def test_loading_casting_and_saving_in_half_precision_mean_the_same(
    saved: Path, dtype: torch.dtype, tmp_path: Path
) -> None:
    name = str(dtype).removeprefix("torch.")
    ways: list[Callable[[], JukeboxPipeline]] = [
        lambda: JukeboxPipeline.from_pretrained(saved, dtype=name),
        lambda: JukeboxPipeline.from_pretrained(saved, dtype=f"torch.{name}"),
        lambda: JukeboxPipeline.from_pretrained(saved, torch_dtype=dtype),
        lambda: JukeboxPipeline.from_pretrained(saved, torch_dtype=name),
        lambda: JukeboxPipeline.from_pretrained(saved, dtype={"default": name}),
        lambda: JukeboxPipeline.from_pretrained(saved).to(dtype),
        lambda: JukeboxPipeline.from_pretrained(saved).to("cpu", dtype),
        lambda: JukeboxPipeline.from_pretrained(saved).to(dtype=dtype),
        lambda: JukeboxPipeline.from_pretrained(tmp_path),
        lambda: JukeboxPipeline.from_pretrained(tmp_path, dtype="auto"),
        lambda: JukeboxPipeline.from_pretrained(tmp_path, low_memory=True),
        lambda: JukeboxPipeline.from_pretrained(saved, dtype=name, low_memory=True),
        lambda: JukeboxPipeline.from_pretrained(saved, dtype={"default": name}, low_memory=True),
    ]
    expected = JukeboxPipeline.from_pretrained(saved, dtype=dtype)
    expected.save_pretrained(tmp_path)
    wanted, codes = precisions(expected), codes_of(expected)
    assert wanted["prior_2.transformer.blocks.0.mlp.fc1.weight"] == dtype == expected.dtype
    blocks = {name for name in wanted if ".blocks." in name and ".norm" not in name}
    assert {wanted[name] for name in wanted.keys() - blocks} <= {torch.float32, torch.bool}
    for way in ways:
        pipe = way()
        assert precisions(pipe) == wanted and pipe.dtype == dtype
        assert all(torch.equal(a, b) for a, b in zip(codes_of(pipe), codes, strict=True))


def test_a_saved_precision_is_in_the_config(saved: Path, tmp_path: Path) -> None:
    JukeboxPipeline.from_pretrained(saved, dtype="float16").save_pretrained(tmp_path)
    assert JukeboxPriorConfig.from_pretrained(tmp_path / "prior_2").dtype == torch.float16
    assert JukeboxVQVAE.from_pretrained(tmp_path / "vqvae", dtype="auto").dtype == torch.float32

    def size(folder: Path) -> int:
        return (folder / "prior_2" / "model.safetensors").stat().st_size

    assert size(tmp_path) < size(saved)
    JukeboxPipeline.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    assert size(tmp_path / "again") == size(tmp_path)


def test_parts_may_differ_and_be_cast_back(saved: Path) -> None:
    pipe = JukeboxPipeline.from_pretrained(saved, dtype={"prior_0": "float16", "prior_1": torch.bfloat16})
    assert [prior.dtype for prior in pipe.priors] == [torch.float16, torch.bfloat16, torch.float32]
    assert set(precisions(pipe.to(torch.float32)).values()) == {torch.float32, torch.bool}


@pytest.mark.parametrize("dtype", ["bf16x", "int8", torch.int64, 16, "float8_e4m3fn", {"prior_0": "half a float"}])
def test_unknown_precisions_are_refused(saved: Path, dtype: Any) -> None:
    for name in ("dtype", "torch_dtype"):
        with pytest.raises(ValueError, match=r"There is no dtype .* use float32, bfloat16 or float16"):
            JukeboxPipeline.from_pretrained(saved, **{name: dtype})
    with pytest.raises(ValueError, match=r"There is no part 'prior2'; `dtype` takes vqvae, .*, default"):
        JukeboxPipeline.from_pretrained(saved, dtype={"prior2": "float16"})
    with pytest.raises(ValueError, match="give `dtype` alone"):
        JukeboxPipeline.from_pretrained(saved, dtype="float16", torch_dtype="float16")


@pytest.mark.parametrize("dtype", [None, *HALVES])
def test_autocast_around_a_call_changes_nothing(saved: Path, dtype: torch.dtype | None) -> None:
    pipe = JukeboxPipeline.from_pretrained(saved, dtype=dtype)
    expected = codes_of(pipe)
    for kind in HALVES:
        with torch.autocast("cpu", kind):
            assert all(torch.equal(a, b) for a, b in zip(codes_of(pipe), expected, strict=True))


def test_float16_on_a_cpu_gives_no_warning(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    JukeboxPipeline.from_pretrained(saved, dtype="float16").to("cpu")
    assert "cannot run" not in caplog.text


def test_a_low_memory_pipeline_refuses_operations_on_all_weights(saved: Path) -> None:
    lean = JukeboxPipeline.from_pretrained(saved, low_memory=True)
    for do in (
        lambda: copy.deepcopy(lean),
        lambda: JukeboxPipeline(**lean.components),
        lambda: JukeboxPipeline.from_pipe(lean),
        lambda: tiny_pipeline("tiny_labelled_prior").register_modules(prior_2=lean.prior_2),
        lambda: lean.enable_model_cpu_offload(device="cpu"),
        lambda: lean.enable_sequential_cpu_offload(device="cpu"),
    ):
        with pytest.raises(ValueError, match="without `low_memory`") as error:
            do()
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="cannot be combined with `quantization_config`"):
        JukeboxPipeline.from_pretrained(saved, low_memory=True, quantization_config=object())
    assert len(codes_of(lean)) == 3
    whole = tiny_pipeline("tiny_labelled_prior")
    assert all(torch.equal(a, b) for a, b in zip(codes_of(copy.deepcopy(whole)), codes_of(whole), strict=True))
