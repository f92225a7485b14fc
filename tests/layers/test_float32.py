"""Codes and conditioning are computed in float32 whatever the process allows."""

from typing import Any

import pytest
import torch
from helpers.random_priors import random_inputs, random_prior
from helpers.tiny import TOP_HOP, noise_audio, tiny_vqvae
from torch.overrides import TorchFunctionMode

from hf_jukebox.layers.float32 import _OPERATIONS, full_float32
from hf_jukebox.sampling.single_prior import rate_codes, sample_codes, score_codes


class Precisions(TorchFunctionMode):
    """Records whether convolutions and products could be rounded."""

    def __init__(self) -> None:
        self.seen: dict[str, set[tuple[bool, str]]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("conv1d", "conv_transpose1d", "matmul", "__matmul__"):
            allowed = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
            self.seen.setdefault(name, set()).add(allowed)
        return func(*args, **(kwargs or {}))


def test_no_operand_of_encoder_decoder_and_conditioner_is_rounded() -> None:
    vqvae, audio = tiny_vqvae(), noise_audio(0.1)[None]
    prior = random_prior("upsampler")
    inputs = random_inputs(prior.config)
    assert torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("medium")
    try:
        with Precisions() as precisions:
            codes = vqvae.encode(audio[:, : audio.shape[1] // TOP_HOP * TOP_HOP])
            vqvae.decode(codes[0])
            prior.prefill(prior.init_state(2), inputs.codes[:, :0], inputs.upper_codes)
        assert set(precisions.seen) == {"conv1d", "conv_transpose1d", "matmul"}
        assert all(allowed == {(False, "highest")} for allowed in precisions.seen.values())
        assert torch.get_float32_matmul_precision() == "medium" and torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")


def test_settings_are_restored_after_an_error() -> None:
    try:
        with full_float32():
            raise KeyError
    except KeyError:
        assert torch.backends.cudnn.allow_tf32


def test_the_last_of_several_threads_restores_the_settings() -> None:
    """As when the app decodes a piece that is listened to while it samples another one."""
    first, second = full_float32(), full_float32()
    torch.set_float32_matmul_precision("medium")
    try:
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cudnn.allow_tf32
        second.__exit__(None, None, None)
        assert torch.get_float32_matmul_precision() == "medium" and torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")


# Autocast --------------------------------------------------------------------------------------------------------

each_half = pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])


@each_half
def test_autocast_changes_neither_codes_nor_audio(half: torch.dtype) -> None:
    vqvae, audio = tiny_vqvae(), noise_audio(0.5)[None]
    codes = vqvae.encode(audio)
    with torch.autocast("cpu", half):
        assert all(torch.equal(a, b) for a, b in zip(vqvae.encode(audio), codes, strict=True))
        decoded = [vqvae.decode(level_codes, level) for level, level_codes in enumerate(codes)]
        assert torch.is_autocast_enabled("cpu")
    for level, level_codes in enumerate(codes):
        assert decoded[level].dtype == torch.float32
        assert torch.equal(decoded[level], vqvae.decode(level_codes, level))


@each_half
@pytest.mark.parametrize("name", ["labelled", "upsampler", "joint_lyrics"])
def test_autocast_changes_neither_sampled_codes_nor_scores(name: str, half: torch.dtype) -> None:
    prior = random_prior(name)
    inputs = random_inputs(prior.config)
    conditioning: dict[str, Any] = {"upper_codes": inputs.upper_codes, "labels": inputs.labels}

    def results() -> list[torch.Tensor]:
        sampled = sample_codes(prior, prior.config.n_ctx, prefix=inputs.codes[:, :3], **conditioning)
        scores = rate_codes(prior, inputs.codes, **conditioning)
        return [sampled, score_codes(prior, inputs.codes, **conditioning), scores.bits, scores.ranks, scores.entropy]

    expected = results()
    with torch.autocast("cpu", half):
        found = results()
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


def test_training_keeps_autocast() -> None:
    vqvae, prior = tiny_vqvae().train(), random_prior("upsampler")
    inputs = random_inputs(prior.config)
    assert prior.conditioner is not None
    seen = []
    hook = prior.conditioner.upsampler.register_forward_hook(lambda _, __, hidden: seen.append(hidden.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        output = vqvae(noise_audio(0.5)[None, : 64 * TOP_HOP])
        prior(inputs.codes, inputs.upper_codes)
    hook.remove()
    assert output.audio is not None
    assert {audio.dtype for audio in output.audio} == {torch.bfloat16}
    assert seen == [torch.bfloat16]


# The newer interface of precisions --------------------------------------------------------------------------------

NEWER: list[tuple[Any, str]] = [
    (torch.backends, "tf32"),
    (torch.backends.cuda.matmul, "tf32"),
    (torch.backends.cudnn, "tf32"),
    (torch.backends.cudnn, "ieee"),
    (torch.backends.cudnn.conv, "ieee"),
    (torch.backends.mkldnn.matmul, "bf16"),
]


def state() -> list[Any]:
    operations = [torch.backends, torch.backends.cudnn, torch.backends.mkldnn, *_OPERATIONS]
    return [operation.fp32_precision for operation in operations]


@pytest.mark.parametrize(("setting", "precision"), NEWER)
@pytest.mark.parametrize("older", ["highest", "medium"])
def test_settings_of_the_newer_interface_are_kept(setting: Any, precision: str, older: str) -> None:
    torch.set_float32_matmul_precision(older)
    setting.fp32_precision = precision
    try:
        expected = state()
        with full_float32():
            assert state()[3:] == ["ieee"] * len(_OPERATIONS)
            assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cudnn.allow_tf32
        assert state() == expected
    finally:
        setting.fp32_precision = "none"
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = True


def test_the_choice_of_algorithms_is_left_to_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("deterministic", "benchmark"):
        monkeypatch.setattr(torch.backends.cudnn, name, True)
    with full_float32():
        assert torch.backends.cudnn.deterministic and torch.backends.cudnn.benchmark
