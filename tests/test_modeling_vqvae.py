"""VQ-VAE: measured codes, audio and training step, audio of any length in chunks, and the effects of training."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.golden import ORIGINAL, golden_vqvae
from helpers.random_priors import randomize
from safetensors.torch import load_file

from hf_jukebox import JukeboxVQVAE, JukeboxVQVAEConfig, modeling_vqvae
from hf_jukebox.layers import losses as reconstruction

CONFIGS: dict[str, dict[str, Any]] = {
    "three_levels": {"downs_t": [2, 1, 1], "strides_t": [2, 2, 2], "multipliers": [2, 1, 1]},
    "two_levels": {"downs_t": [3, 1], "strides_t": [2, 4], "multipliers": [1, 1], "dilation_cycle": 1, "depth": 3},
    "one_level": {"downs_t": [2], "strides_t": [4], "multipliers": [1], "res_scale": True, "hidden_multiplier": 0.5},
}
each_config = pytest.mark.parametrize("name", CONFIGS)


def new_vqvae(name: str = "three_levels", **settings: Any) -> JukeboxVQVAE:
    base = {"codebook_size": 13, "codebook_dim": 5, "width": 6, "depth": 2, "linf_top_k": 64}
    vqvae = JukeboxVQVAE(JukeboxVQVAEConfig(**(base | CONFIGS[name] | settings)))
    randomize(vqvae)
    for level, quantizer in enumerate(vqvae.quantizers):
        quantizer.codebook.copy_(torch.randn(13, 5, generator=torch.Generator().manual_seed(level)))
        quantizer.initialized.fill_(True)
    return vqvae.eval()


@lru_cache
def vqvae_of(name: str = "three_levels") -> JukeboxVQVAE:
    """The same random model on every call, in float64: do not change it."""
    return new_vqvae(name).double()


def noise(samples: int, batch_size: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch_size, samples, generator=torch.Generator().manual_seed(seed)) * 0.3


# Golden files ----------------------------------------------------------------------------------------------------


@lru_cache
def expected() -> dict[str, torch.Tensor]:
    return load_file(ORIGINAL / "vqvae_expected.safetensors")


def test_golden_codes_and_audio() -> None:
    vqvae = golden_vqvae()
    codes = vqvae.encode(expected()["x"])
    for level in range(3):
        assert torch.equal(codes[level], expected()[f"codes_{level}"])
        audio = vqvae.decode(codes[level], level)
        torch.testing.assert_close(audio, expected()[f"decoded_from_{level}"], rtol=0, atol=1e-4)


def test_golden_training_step() -> None:
    """Return the terms of the loss, and the codebooks after the update, with the settings of the measurement."""
    measurement = json.loads((ORIGINAL / "vqvae_train.json").read_text())
    bandwidth, restored, metrics = (measurement[key] for key in ("bandwidth", "restore_k", "metrics"))
    vqvae = golden_vqvae().train()
    vqvae.config.l1_normalizer = bandwidth["l1"]
    vqvae.config.l2_normalizer = bandwidth["l2"]
    vqvae.config.spectral_normalizer = bandwidth["spec"]
    for quantizer in vqvae.quantizers:
        quantizer.restart_threshold = restored["threshold"]
        quantizer.restore_running_sums(restored["num_tokens"])
    output = vqvae(expected()["x"])
    assert output.metrics is not None
    ours = {
        "loss": output.loss,
        "recons_loss": output.reconstruction_loss,
        "spectral_loss": output.spectral_loss,
        "multispectral_loss": output.multispectral_loss,
        "commit_loss": output.commit_loss,
        "spectral_convergence": output.metrics["spectral_convergence"],
        "l1_loss": output.metrics["l1"],
        "l2_loss": output.metrics["l2"],
        "linf_loss": output.metrics["linf"],
        "fit": output.metrics["fit"],
        "pn": output.metrics["prenorm"],
        "entropy": output.metrics["entropy"],
        "used_curr": output.metrics["used"],
        "usage": output.metrics["usage"],
        "dk": output.metrics["codebook_change"],
    }
    for level in range(3):
        for theirs, term in (
            ("recons", "reconstruction"),
            ("spectral", "spectral"),
            ("multispectral", "multispectral"),
        ):
            ours[f"{theirs}_loss_l{level + 1}"] = output.metrics[f"{term}_loss/level_{level}"]
    assert ours.keys() == metrics.keys()
    assert {name: term.item() for name, term in ours.items()} == pytest.approx(metrics, rel=1e-4)
    for level, quantizer in enumerate(vqvae.quantizers):
        updated = expected()[f"codebook_after_update_{level}"]
        torch.testing.assert_close(quantizer.codebook, updated, rtol=0, atol=1e-4)


# Encoding and decoding -------------------------------------------------------------------------------------------


@each_config
def test_audio_of_any_length_has_the_whole_codes_that_fit(name: str) -> None:
    vqvae = vqvae_of(name)
    hops = vqvae.config.hop_lengths
    for samples in (0, 1, hops[0], hops[-1] - 1, hops[-1], 5 * hops[-1] + 3):
        codes = vqvae.encode(noise(samples))
        assert [level_codes.shape for level_codes in codes] == [(2, samples // hop) for hop in hops]
        assert {level_codes.dtype for level_codes in codes} == {torch.long}
        for level, level_codes in enumerate(codes):
            assert vqvae.decode(level_codes, level).shape == (2, samples // hops[level] * hops[level])


def test_single_levels_can_be_encoded() -> None:
    vqvae = vqvae_of()
    codes = vqvae.encode(noise(256))
    top, finest = vqvae.encode(noise(256), levels=[2, 0])
    assert torch.equal(top, codes[2])
    assert torch.equal(finest, codes[0])


@pytest.mark.parametrize("chunk", [1, 64, 300])
@each_config
def test_coding_in_chunks_equals_one_pass(name: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vqvae, audio = vqvae_of(name), noise(1003)
    codes = vqvae.encode(audio)
    decoded = [vqvae.decode(level_codes, level) for level, level_codes in enumerate(codes)]
    monkeypatch.setattr(modeling_vqvae, "_CHUNK_SAMPLES", chunk)
    monkeypatch.setattr(modeling_vqvae, "_BLOCK_IN_S", 1e-5)
    for level, level_codes in enumerate(vqvae.encode(audio)):
        assert torch.equal(level_codes, codes[level])
        torch.testing.assert_close(vqvae.decode(level_codes, level), decoded[level], rtol=0, atol=1e-10)


@each_config
def test_a_block_is_decoded_as_in_the_whole_from_the_codes_around_it(name: str) -> None:
    vqvae, audio = vqvae_of(name), noise(1003)
    for level, codes in enumerate(vqvae.encode(audio)):
        whole, hop, length = vqvae.decode(codes, level), vqvae.config.hop_lengths[level], codes.shape[1]
        context = vqvae.decoder_context(level)
        for start, end in ((0, 1), (length // 3, length // 2 + 1), (length - 1, length)):
            others = torch.zeros_like(codes)
            near = slice(max(start - context, 0), end + context)
            others[:, near] = codes[:, near]
            block = vqvae.decode_block(others, start, end, level)
            torch.testing.assert_close(block, whole[:, start * hop : end * hop], rtol=0, atol=1e-10)


def test_memory_is_bounded_by_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No convolution gets much more than a chunk and its receptive field."""
    vqvae = vqvae_of()
    seen: list[int] = []
    hooks = [part.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[-1])) for part in vqvae.encoders]
    monkeypatch.setattr(modeling_vqvae, "_CHUNK_SAMPLES", 64)
    vqvae.encode(noise(4096))
    for hook in hooks:
        hook.remove()
    assert max(seen) < 1024


def test_a_level_is_decoded_with_its_own_codebook_and_decoder() -> None:
    vqvae = new_vqvae()
    codes = vqvae.encode(noise(128))
    decoded = [vqvae.decode(level_codes, level) for level, level_codes in enumerate(codes)]
    for level in range(3):
        other = new_vqvae()
        for part in (other.decoders, other.quantizers):
            for index in {0, 1, 2} - {level}:
                for tensor in (*part[index].parameters(), *part[index].buffers()):
                    tensor.data.zero_()
        assert torch.equal(other.decode(codes[level], level), decoded[level])


def test_a_batch_has_the_codes_of_its_items() -> None:
    vqvae, audio = vqvae_of(), noise(256, batch_size=3)
    for item in range(3):
        for together, alone in zip(vqvae.encode(audio), vqvae.encode(audio[item : item + 1]), strict=True):
            assert torch.equal(together[item : item + 1], alone)


def test_decoding_is_not_clamped() -> None:
    vqvae = new_vqvae()
    with torch.no_grad():
        vqvae.decoders[0].out.bias.fill_(7.0)
    assert vqvae.decode(torch.zeros(1, 8, dtype=torch.long)).max() > 2


def test_bad_codes_and_levels_are_reported_in_one_sentence() -> None:
    vqvae = vqvae_of()
    with pytest.raises(ValueError, match="There is no level 3; this VQ-VAE has levels 0 to 2"):
        vqvae.decode(torch.zeros(1, 8, dtype=torch.long), level=3)
    for code in (-1, 13):
        with pytest.raises(ValueError, match="Codes must lie between 0 and 12"):
            vqvae.decode(torch.full((1, 8), code))
    for shape in ((1, 100), (1, 0), (1, 1, 96), (96,)):
        with pytest.raises(ValueError, match=r"Training audio must be .* with T a multiple of 16"):
            vqvae(torch.zeros(shape))


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [((96,), "as audio[None]"), ((2, 1, 96), "mix its channels"), ((1, 2, 96), "mix its channels")],
)
def test_audio_of_another_shape_is_refused_with_what_to_do(shape: tuple[int, ...], remedy: str) -> None:
    vqvae, audio = vqvae_of(), torch.zeros(shape)
    for encode in (lambda: vqvae.encode(audio), lambda: next(vqvae.iter_encode([audio], 0))):
        with pytest.raises(ValueError, match=r"`audio` must be \[B, T\], but is \[.*; .*") as error:
            encode()
        assert remedy in str(error.value).replace("`", "")


@pytest.mark.parametrize("level", [-1, 3])
def test_unknown_levels_are_not_encoded(level: int) -> None:
    vqvae = vqvae_of()
    for encode in (lambda: vqvae.encode(noise(96), [0, level]), lambda: next(vqvae.iter_encode([noise(96)], level))):
        with pytest.raises(ValueError, match=f"There is no level {level}; this VQ-VAE has levels 0 to 2"):
            encode()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_audio_that_is_not_finite_is_refused(value: float, dtype: torch.dtype) -> None:
    vqvae, audio = vqvae_of(), noise(96).to(dtype)
    audio[1, 50] = value
    with pytest.raises(ValueError, match="`audio` has samples that are NaN or infinite"):
        vqvae.encode(audio)


def test_audio_of_whole_numbers_is_encoded() -> None:
    vqvae, audio = vqvae_of(), torch.tensor([[0, 1, -1, 2] * 24])
    for kind in (torch.int8, torch.int16, torch.int64):
        assert torch.equal(vqvae.encode(audio.to(kind))[0], vqvae.encode(audio.double())[0])


def test_encoding_reads_no_sample_of_a_device() -> None:
    """Tensors on the meta device have no values: reading one fails."""
    vqvae = new_vqvae().to("meta")
    assert [codes.shape for codes in vqvae.encode(noise(96).to("meta"))] == [(2, 24), (2, 12), (2, 6)]


@pytest.mark.parametrize(("shape", "remedy"), [((8,), "as `codes.None.`"), ((3, 1, 8), "those of one level")])
def test_codes_of_another_shape_are_refused_with_what_to_do(shape: tuple[int, ...], remedy: str) -> None:
    vqvae, codes = vqvae_of(), torch.zeros(shape, dtype=torch.long)
    for decode in (lambda: vqvae.decode(codes), lambda: vqvae.decode_block(codes, 0, 8)):
        with pytest.raises(ValueError, match=rf"`codes` must be \[B, T_level\], but are \[.*; .*{remedy}"):
            decode()


# Training --------------------------------------------------------------------------------------------------------


def test_forward_has_the_codes_and_audio_of_encode_and_decode() -> None:
    vqvae, audio = new_vqvae(), noise(2048)
    output = vqvae(audio)
    assert output.codes is not None
    assert output.audio is not None
    for level, codes in enumerate(vqvae.encode(audio)):
        assert torch.equal(output.codes[level], codes)
        torch.testing.assert_close(output.audio[level], vqvae.decode(codes, level))


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    vqvae = new_vqvae(spectral_weight=0.3, multispectral_weight=0.5, commit_weight=0.2)
    output = vqvae(noise(2048))
    terms = (output.reconstruction_loss, output.spectral_loss, output.multispectral_loss, output.commit_loss)
    assert all(term is not None for term in terms)
    expected_loss = sum(weight * term for weight, term in zip((1, 0.3, 0.5, 0.2), terms, strict=True))
    torch.testing.assert_close(output.loss, expected_loss)


def test_the_reconstruction_losses() -> None:
    audio = noise(2048)
    normalizers = {"l1_normalizer": 0.5, "l2_normalizer": 0.25}
    weights = {"l1_weight": 0.1, "l2_weight": 0.7, "linf_weight": 0.2}

    def loss(kind: str) -> tuple[float, torch.Tensor]:
        vqvae = new_vqvae("one_level", reconstruction_loss=kind, **normalizers, **weights)
        output = vqvae(audio)
        assert output.reconstruction_loss is not None
        assert output.audio is not None
        return output.reconstruction_loss.item(), output.audio[0]

    decoded = loss("l1")[1]
    l1 = reconstruction.l1_error(decoded, audio).item() / 0.5
    l2 = reconstruction.l2_error(decoded, audio).item() / 0.25
    linf = reconstruction.linf_error(decoded, audio, 64).item() / 0.25
    kinds = {"l1": l1, "l2": l2, "linf": linf, "lmix": 0.1 * l1 + 0.7 * l2 + 0.2 * linf}
    assert {kind: loss(kind)[0] for kind in kinds} == pytest.approx(kinds, rel=1e-5)


def test_the_gradient_reaches_every_encoder_through_the_quantiser() -> None:
    vqvae = new_vqvae(commit_weight=0.0).train()
    loss = vqvae(noise(2048)).loss
    assert loss is not None
    loss.backward()
    for encoder in vqvae.encoders:
        assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in encoder.parameters())


def test_codebooks_are_changed_by_training_but_not_by_the_optimizer() -> None:
    vqvae = new_vqvae()
    books = [quantizer.codebook.clone() for quantizer in vqvae.quantizers]
    optimizer = torch.optim.AdamW(vqvae.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(2):
        loss = vqvae(noise(2048)).loss
        assert loss is not None
        loss.backward()
        optimizer.step()
    assert all(torch.equal(book, quantizer.codebook) for book, quantizer in zip(books, vqvae.quantizers, strict=True))
    vqvae.train()(noise(2048))
    assert not any(
        torch.equal(book, quantizer.codebook) for book, quantizer in zip(books, vqvae.quantizers, strict=True)
    )


def test_the_first_batch_initialises_the_codebooks() -> None:
    torch.manual_seed(0)
    vqvae = JukeboxVQVAE(new_vqvae().config).train()
    assert not any(quantizer.initialized or quantizer.codebook.any() for quantizer in vqvae.quantizers)
    output = vqvae(noise(2048))
    assert all(quantizer.initialized for quantizer in vqvae.quantizers)
    assert output.codes is not None
    assert all(len(codes.unique()) > 3 for codes in output.codes)


def test_the_vqvae_has_pytorchs_initialisation() -> None:
    torch.manual_seed(0)
    vqvae = JukeboxVQVAE(JukeboxVQVAEConfig.from_preset("small_vqvae"))
    conv = vqvae.encoders[0].stages[0].stacks[0][0].conv1
    bound = (32 * 3) ** -0.5
    assert conv.weight.abs().max() <= bound
    assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert 0 < conv.bias.abs().max() <= bound


# Saving ----------------------------------------------------------------------------------------------------------


@each_config
def test_a_saved_vqvae_loads_unchanged_and_can_be_trained_further(name: str, tmp_path: Path) -> None:
    vqvae = new_vqvae(name).train()
    vqvae(noise(2048))
    vqvae.save_pretrained(tmp_path)
    loaded = JukeboxVQVAE.from_pretrained(tmp_path)
    assert not loaded.training
    assert loaded.config.to_diff_dict() == vqvae.config.to_diff_dict()
    ours, theirs = vqvae.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) and ours[key].dtype == theirs[key].dtype for key in ours)
    for model in (vqvae, loaded.train()):
        torch.manual_seed(0)  # restarts are random
        model(noise(2048, seed=1))
    assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in vqvae.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_vqvae_loaded_in_half_precision_stays_in_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    vqvae, audio = new_vqvae(), noise(512)
    vqvae.save_pretrained(tmp_path)
    loaded = JukeboxVQVAE.from_pretrained(tmp_path, dtype=dtype)
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32, torch.bool}
    for level, codes in enumerate(loaded.encode(audio)):
        assert torch.equal(codes, vqvae.encode(audio)[level])


def test_cast_as_a_whole_it_takes_float32_audio() -> None:
    """Frameworks that cast parameters themselves halve every weight."""
    vqvae = torch.nn.Module.to(new_vqvae(), torch.bfloat16)
    codes = vqvae.encode(noise(512))
    assert vqvae.decode(codes[0]).isfinite().all()
