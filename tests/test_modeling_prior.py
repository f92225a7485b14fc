"""Priors: measured outputs, steps that equal the whole pass, and causality."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.golden import ORIGINAL, PRIORS, golden_prior
from helpers.random_priors import (
    CONFIGS,
    Inputs,
    full_logits,
    random_inputs,
    random_prior,
    randomize,
    sample_greedily,
    step_logits,
)
from helpers.tiny import tiny_prior
from safetensors.torch import load_file

from hf_jukebox import JukeboxPrior, JukeboxPriorConfig
from hf_jukebox.layers.attention import AttentionKind, LyricsAttention
from hf_jukebox.training.memory_estimate import recompute_activations

LYRICS_PRIORS = ("lyrics_order_8", "lyrics_order_10", "joint_lyrics")

each_prior = pytest.mark.parametrize("name", CONFIGS)


# Golden files ----------------------------------------------------------------------------------------------------


@lru_cache
def golden(name: str) -> tuple[JukeboxPrior, dict[str, torch.Tensor]]:
    return golden_prior(name), load_file(ORIGINAL / f"{name}_expected.safetensors")


def golden_inputs(name: str, start: int) -> Inputs:
    prior, expected = golden(name)
    labels = expected[f"y_{start}"] if prior.config.has_labels else None
    return Inputs(expected[f"z_{start}"], expected.get(f"z_cond_{start}"), labels)


@pytest.mark.parametrize("start", [0, 16])
@pytest.mark.parametrize("name", PRIORS)
def test_golden_logits_and_losses(name: str, start: int) -> None:
    (prior, expected), inputs = golden(name), golden_inputs(name, start)
    with torch.no_grad():
        output = prior(inputs.codes, inputs.upper_codes, inputs.labels)
    characters, first = prior.config.lyrics_vocab_size, prior.config.num_joint_lyrics
    logits = expected[f"preds_{start}"]
    if first:  # one sequence of characters and codes
        assert output.lyrics_logits is not None
        assert (output.lyrics_logits - logits[:, :first]).abs().max() <= 1e-3
        logits = logits[:, first:, characters:]
    assert output.logits.shape == logits.shape
    assert (output.logits - logits).abs().max() <= 1e-3
    torch.testing.assert_close(output.loss, expected[f"loss_{start}"][0], rtol=1e-4, atol=0)
    torch.testing.assert_close(output.code_loss, expected[f"gen_loss_{start}"][0], rtol=1e-4, atol=0)
    if prior.config.n_lyrics:
        torch.testing.assert_close(output.lyrics_loss, expected[f"prime_loss_{start}"][0], rtol=1e-4, atol=0)
    else:
        assert output.lyrics_loss is None


@pytest.mark.parametrize(("run", "known"), [("ancestral", 0), ("primed_half", 16), ("primed_7", 7)])
@pytest.mark.parametrize("name", PRIORS)
def test_golden_greedy_codes(name: str, run: str, known: int) -> None:
    prior, expected = golden(name)
    sampled = sample_greedily(prior, golden_inputs(name, 0), known)
    assert torch.equal(sampled, expected[f"greedy_{run}"])


@pytest.mark.parametrize("name", ["prior_5b_lyrics", "prior_1b_lyrics", "small_sep_enc_dec"])
def test_golden_alignment(name: str) -> None:
    (prior, expected), inputs = golden(name), golden_inputs(name, 0)
    assert inputs.labels is not None
    alignment = prior.alignment(inputs.codes, inputs.labels)
    torch.testing.assert_close(alignment, expected["alignment"], rtol=0, atol=1e-4)


# Causality ---------------------------------------------------------------------------------------------------


def reachable(prior: JukeboxPrior) -> torch.Tensor:
    """Return which outputs depend on which inputs, `[positions, positions]`, from the table of kinds."""
    shape = prior.transformer.shape.attention
    i, j = torch.arange(shape.positions)[:, None], torch.arange(shape.positions)[None]
    row_i, row_j = i // shape.columns, j // shape.columns
    column_i, column_j = i % shape.columns, j % shape.columns
    sees = {
        AttentionKind.DENSE: j <= i,
        AttentionKind.ROW: (row_j == row_i) & (j <= i),
        AttentionKind.COLUMN: (column_j == column_i) & (j <= i),
        AttentionKind.PREVIOUS_ROW: row_j == row_i - 1,
        AttentionKind.LYRICS: torch.zeros(shape.positions, shape.positions, dtype=torch.bool),
        AttentionKind.JOINT_LYRICS: (j <= i) & (j < (shape.num_lyrics // shape.rows + 1) * shape.rows),
    }
    reach = torch.eye(shape.positions)
    for kind in prior.transformer.kinds:
        reach = ((sees[kind].float() + torch.eye(shape.positions)) @ reach).clamp_max(1)
    return reach > 0


@each_prior
def test_logits_depend_on_exactly_what_the_attention_reaches(name: str) -> None:
    prior = random_prior(name, torch.float64)
    inputs = random_inputs(prior.config, batch_size=1)
    embedded: list[torch.Tensor] = []
    hook = prior.token_embedding.register_forward_hook(lambda module, args, output: embedded.append(output))
    logits = prior(inputs.codes, inputs.upper_codes, inputs.labels).logits[0]
    hook.remove()
    depends = torch.stack(
        [
            torch.autograd.grad(of_code.sum(), embedded[0], retain_graph=True)[0][0].abs().sum(-1) > 0
            for of_code in logits
        ]
    )
    # The input at a position is the embedding of the token before it.
    first = prior.config.num_joint_lyrics
    expected = torch.zeros_like(depends)
    expected[:, :-1] = reachable(prior)[first:, 1:]
    assert torch.equal(depends, expected)
    assert not depends.triu(first).any()  # neither the code itself nor a later one
    assert depends.any()


@pytest.mark.parametrize("name", ["lyrics_order_8", "lyrics_order_10"])
def test_every_code_attends_to_all_lyrics_but_the_last_character(name: str) -> None:
    """The encoder's input is shifted right by one, as if its states had to predict the characters."""
    prior = random_prior(name, torch.float64)
    inputs = random_inputs(prior.config, batch_size=1)
    assert prior.lyrics_encoder is not None
    embedded: list[torch.Tensor] = []
    hook = prior.lyrics_encoder.token_embedding.register_forward_hook(
        lambda module, args, output: embedded.append(output)
    )
    logits = prior(inputs.codes, inputs.upper_codes, inputs.labels).logits[0]
    hook.remove()
    assert embedded[0].shape[1] == prior.config.n_lyrics - 1
    for of_code in logits:
        (gradient,) = torch.autograd.grad(of_code.sum(), embedded[0], retain_graph=True)
        assert (gradient[0].abs().sum(-1) > 0).all()


@each_prior
def test_a_part_of_a_window_has_the_logits_of_the_whole(name: str) -> None:
    prior = random_prior(name)
    inputs = random_inputs(prior.config)
    whole = full_logits(prior, inputs)
    for length in (1, 5, prior.transformer.shape.attention.columns, 13, prior.config.n_ctx - 1):
        part = full_logits(prior, Inputs(inputs.codes[:, :length], inputs.upper_codes, inputs.labels))
        torch.testing.assert_close(part, whole[:, :length], rtol=0, atol=1e-5 * whole.abs().max().item())


@each_prior
def test_songs_of_a_batch_have_the_logits_of_single_songs(name: str) -> None:
    prior = random_prior(name, torch.float64)
    inputs = random_inputs(prior.config, batch_size=3)
    full, steps = full_logits(prior, inputs), step_logits(prior, inputs, known=7)
    for song in range(3):
        alone = inputs[song : song + 1]
        torch.testing.assert_close(full_logits(prior, alone)[0], full[song], rtol=0, atol=1e-10)
        torch.testing.assert_close(step_logits(prior, alone, known=7)[0], steps[song], rtol=0, atol=1e-10)
    assert not torch.allclose(full[0], full[1], atol=1e-2)


def test_an_upsampler_sees_the_upper_codes_of_its_window_only() -> None:
    prior = random_prior("upsampler")
    inputs = random_inputs(prior.config)
    assert inputs.upper_codes is not None
    longer = torch.cat([inputs.upper_codes, inputs.upper_codes.flip(1)], dim=1)
    logits = full_logits(prior, inputs)
    assert torch.equal(full_logits(prior, Inputs(inputs.codes, longer, None)), logits)
    other = inputs.upper_codes.clone()
    other[:, -1] = (other[:, -1] + 1) % prior.config.codebook_size
    changed = full_logits(prior, Inputs(inputs.codes, other, None))
    assert not torch.allclose(changed[:, -4:], logits[:, -4:], atol=1e-3)


def test_an_empty_genre_slot_contributes_nothing() -> None:
    prior = random_prior("labelled")
    inputs = random_inputs(prior.config)
    assert inputs.labels is not None

    def with_genres(*genres: int) -> torch.Tensor:
        assert inputs.labels is not None
        labels = inputs.labels.clone()
        labels[:, 4:6] = torch.tensor(genres)
        return full_logits(prior, Inputs(inputs.codes, None, labels))

    assert torch.equal(with_genres(3, -1), with_genres(-1, 3))
    assert not torch.allclose(with_genres(3, -1), with_genres(-1, -1), atol=1e-3)
    assert not torch.allclose(with_genres(3, -1), with_genres(3, 0), atol=1e-3)


def test_an_upsampler_ignores_the_timing_of_its_labels() -> None:
    prior = random_prior("labelled_upsampler")
    inputs = random_inputs(prior.config)
    assert inputs.labels is not None
    labels = inputs.labels.clone()
    labels[:, :3] = -5
    assert torch.equal(full_logits(prior, Inputs(inputs.codes, inputs.upper_codes, labels)), full_logits(prior, inputs))


# Steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
@each_prior
def test_steps_give_the_logits_of_the_whole_pass(name: str, dtype: torch.dtype, tolerance: float) -> None:
    prior = random_prior(name, dtype)
    inputs = random_inputs(prior.config)
    whole = full_logits(prior, inputs)
    assert whole.dtype == dtype
    columns = prior.transformer.shape.attention.columns
    for known in {0, 1, 7, columns, 2 * columns, prior.config.n_ctx - 1}:
        steps = step_logits(prior, inputs, known)
        assert (steps - whole[:, known:]).abs().max() <= tolerance * whole.abs().max()


@each_prior
def test_a_window_continued_from_its_first_codes_is_the_same_window(name: str) -> None:
    prior = random_prior(name, torch.float64)
    inputs = random_inputs(prior.config)
    once = sample_greedily(prior, inputs, known=0)
    again = sample_greedily(prior, Inputs(once, inputs.upper_codes, inputs.labels), known=10)
    assert torch.equal(again, once)


@each_prior
def test_a_reused_state_does_not_affect_the_next_window(name: str) -> None:
    prior = random_prior(name)
    inputs = random_inputs(prior.config)
    state = prior.init_state(batch_size=2)
    step_logits(prior, random_inputs(prior.config, seed=1), known=9, state=state)
    for known in (0, 5):
        assert torch.equal(step_logits(prior, inputs, known, state), step_logits(prior, inputs, known))


def test_prefilling_a_shorter_window_clears_the_conditioning_of_a_longer_one() -> None:
    prior = random_prior("upsampler")
    inputs = random_inputs(prior.config)
    assert inputs.upper_codes is not None
    fresh, used = prior.init_state(2), prior.init_state(2)
    prior.prefill(used, inputs.codes[:, :5], inputs.upper_codes)
    for state in (fresh, used):
        prior.prefill(state, inputs.codes[:, :0], inputs.upper_codes[:, :3])
    assert fresh.conditioning is not None
    assert used.conditioning is not None
    assert torch.equal(fresh.conditioning, used.conditioning)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_cpu_a_song_is_prefilled_to_the_same_bits_in_any_batch(dtype: torch.dtype) -> None:
    # Wide enough for libraries to add in another order for other numbers of rows.
    prior = tiny_prior("tiny_upsampler", n_ctx=512, hidden_size=64).to(dtype)
    inputs = random_inputs(prior.config, batch_size=8)
    assert inputs.upper_codes is not None
    state, alone = prior.init_state(8), prior.init_state(1)
    prior.prefill(state, inputs.codes[:, :256], inputs.upper_codes)
    for row in (0, 5):
        rows = slice(row, row + 1)
        prior.prefill(alone, inputs.codes[rows, :256], inputs.upper_codes[rows])
        for name, tensor in alone.tensors().items():
            assert torch.equal(tensor, state.tensors()[name][rows]), name


def test_the_cache_of_a_layer_holds_no_more_than_its_pattern_needs() -> None:
    prior = random_prior("joint_lyrics")
    shape = prior.transformer.shape.attention
    slots = {
        AttentionKind.DENSE: shape.positions,
        AttentionKind.ROW: shape.columns,
        AttentionKind.COLUMN: shape.positions,
        AttentionKind.PREVIOUS_ROW: 2 * shape.columns,
        AttentionKind.JOINT_LYRICS: 9,
    }
    for kind, cache in zip(prior.transformer.kinds, prior.init_state(3).caches, strict=True):
        assert cache.shape == (2, 3, shape.heads, slots[kind], shape.head_dim)


@pytest.mark.compiler
def test_a_compiled_step_samples_the_same_codes() -> None:
    prior = random_prior("folded")
    inputs = random_inputs(prior.config)
    eager = sample_greedily(prior, inputs, known=3)
    compiled = torch.compile(prior.step, fullgraph=True, dynamic=False)
    state = prior.init_state(batch_size=2)
    prior.prefill(state, inputs.codes[:, :3])
    codes = inputs.codes[:, :3]
    with torch.no_grad():
        for position in range(3, prior.config.n_ctx):
            logits = compiled(state, codes[:, -1].clone(), torch.tensor([position]))
            codes = torch.cat([codes, logits.argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(codes, eager)


# Optional outputs of a pass -------------------------------------------------------------------------------------


@each_prior
def test_hidden_states_run_from_the_first_input_to_the_last_output(name: str) -> None:
    prior = random_prior(name)
    inputs = random_inputs(prior.config)
    length = 13  # no whole rows
    output = prior(inputs.codes[:, :length], inputs.upper_codes, inputs.labels, output_hidden_states=True)
    assert output.hidden_states is not None
    assert len(output.hidden_states) == prior.config.num_hidden_layers + 1
    positions = prior.config.num_joint_lyrics + length
    assert {states.shape for states in output.hidden_states} == {(2, positions, prior.config.hidden_size)}
    if prior.config.merged_decoder:  # then nothing stands between the last state and the logits
        logits = prior.head(output.hidden_states[-1])[:, -length:, -prior.config.codebook_size :]
        torch.testing.assert_close(logits, output.logits)


@each_prior
def test_attentions_are_shares_of_what_each_kind_sees(name: str) -> None:
    prior = random_prior(name)
    inputs = random_inputs(prior.config)
    shape = prior.transformer.shape.attention
    positions = prior.config.num_joint_lyrics + 13
    output = prior(inputs.codes[:, :13], inputs.upper_codes, inputs.labels, output_attentions=True)
    assert output.attentions is not None
    for kind, weights in zip(prior.transformer.kinds, output.attentions, strict=True):
        keys = prior.config.n_lyrics if kind == AttentionKind.LYRICS else positions
        assert weights.shape == (2, shape.heads, positions, keys)
        shares = torch.ones(positions)
        if kind == AttentionKind.PREVIOUS_ROW:
            shares[: shape.columns] = 0  # nothing lies above the first row
        torch.testing.assert_close(weights.sum(-1), shares.expand(2, shape.heads, -1))


@pytest.mark.parametrize("name", LYRICS_PRIORS)
def test_alignment_is_the_attention_of_its_layer_and_head_to_the_lyrics(name: str) -> None:
    prior = random_prior(name)
    inputs = random_inputs(prior.config)
    assert inputs.labels is not None
    layer, head = prior.config.alignment_layer, prior.config.alignment_head
    alignment = prior.alignment(inputs.codes, inputs.labels)
    assert alignment.shape == (2, prior.config.n_ctx, prior.config.n_lyrics)
    attentions = prior(inputs.codes, labels=inputs.labels, output_attentions=True).attentions
    assert attentions is not None
    first = prior.config.num_joint_lyrics
    assert torch.equal(alignment, attentions[layer][:, head, first:, : prior.config.n_lyrics])


@pytest.mark.parametrize("name", ["lyrics_order_10", "joint_lyrics"])
def test_lyric_attention_of_a_head_is_that_of_forward_from_codes_to_lyrics(name: str) -> None:
    prior = random_prior(name)
    inputs = random_inputs(prior.config)
    assert inputs.labels is not None
    heads = [(prior.config.alignment_layer, head) for head in range(2)]
    found = prior.lyric_attention(inputs.codes, inputs.labels, heads)
    with torch.no_grad():
        attentions = prior(inputs.codes, labels=inputs.labels, output_attentions=True).attentions
    first, n_lyrics = prior.config.num_joint_lyrics, prior.config.n_lyrics
    assert list(found) == heads
    for layer, head in heads:
        torch.testing.assert_close(found[layer, head], attentions[layer][:, head, first:, :n_lyrics])


def test_lyric_attention_of_a_prior_without_lyrics_is_an_error() -> None:
    prior = random_prior("labelled")
    inputs = random_inputs(prior.config)
    with pytest.raises(ValueError, match="does not use any"):
        prior.lyric_attention(inputs.codes, inputs.labels, [(0, 0)])


def test_the_loss_weights_codes_and_characters_by_their_counts() -> None:
    prior = random_prior("lyrics_order_8")
    inputs = random_inputs(prior.config)
    output = prior(inputs.codes, labels=inputs.labels)
    assert output.lyrics_logits is not None
    assert inputs.labels is not None
    bits = -output.logits.log_softmax(-1).gather(2, inputs.codes[..., None]).mean() / torch.tensor(2.0).log()
    torch.testing.assert_close(output.code_loss, bits)
    tokens = inputs.labels[:, -8:, None]
    bits_of_lyrics = -output.lyrics_logits.log_softmax(-1).gather(2, tokens).mean() / torch.tensor(2.0).log()
    torch.testing.assert_close(output.lyrics_loss, bits_of_lyrics)
    torch.testing.assert_close(output.loss, (0.4 * bits_of_lyrics * 8 + bits * 24) / (8 + 24))


# Training and precision ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["labelled_upsampler", "lyrics_order_8"])
def test_gradient_checkpointing_gives_the_same_gradients(name: str) -> None:
    prior = JukeboxPrior(random_prior(name).config)
    randomize(prior)
    prior.train()
    inputs = random_inputs(prior.config)

    def gradients() -> list[torch.Tensor | None]:
        prior.zero_grad()
        loss = prior(inputs.codes, inputs.upper_codes, inputs.labels).loss
        assert loss is not None
        loss.backward()
        return [None if weight.grad is None else weight.grad.clone() for weight in prior.parameters()]

    plain = gradients()
    recompute_activations(prior)
    assert all(block.gradient_checkpointing for block in prior.transformer.blocks)
    for kept, recomputed in zip(plain, gradients(), strict=True):
        torch.testing.assert_close(recomputed, kept, rtol=0, atol=1e-6)
    assert all(gradient is not None for gradient in plain)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_converts_only_the_blocks(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    reference = random_prior(name)
    reference.save_pretrained(tmp_path)
    prior = JukeboxPrior.from_pretrained(tmp_path, dtype=dtype)
    for weight_name, weight in prior.named_parameters():
        of_block = ".blocks." in weight_name and ".norm" not in weight_name
        assert weight.dtype == (dtype if of_block else torch.float32), weight_name
    inputs = random_inputs(prior.config)
    whole = full_logits(prior, inputs)
    assert whole.dtype == torch.float32
    expected = full_logits(reference, inputs)
    tolerance = 64 * torch.finfo(dtype).eps * expected.abs().max().item()
    assert (whole - expected).abs().max() < tolerance
    assert (step_logits(prior, inputs, known=7) - expected[:, 7:]).abs().max() < tolerance


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_cast_to_half_precision_a_prior_is_as_if_it_was_loaded_in_it(dtype: torch.dtype, tmp_path: Path) -> None:
    random_prior("lyrics_order_8").save_pretrained(tmp_path)
    loaded = JukeboxPrior.from_pretrained(tmp_path, dtype=dtype).state_dict()
    casts = [lambda prior: prior.to(dtype), lambda prior: prior.to("cpu", dtype), lambda prior: prior.to(dtype=dtype)]
    casts += [lambda prior: prior.half() if dtype == torch.float16 else prior.bfloat16()]
    casts += [lambda prior: prior.double().to(dtype)]
    for cast in casts:
        prior = cast(random_prior("lyrics_order_8"))
        assert prior.dtype == dtype
        for name, weight in prior.state_dict().items():
            assert weight.dtype == loaded[name].dtype and torch.equal(weight, loaded[name]), name
        assert prior.float().token_embedding.weight.dtype == prior.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_prior_saved_in_half_precision_is_loaded_in_it(dtype: torch.dtype, tmp_path: Path) -> None:
    random_prior("folded").to(dtype).save_pretrained(tmp_path)
    assert JukeboxPriorConfig.from_pretrained(tmp_path).dtype == dtype
    for options in ({}, {"dtype": "auto"}):
        prior = JukeboxPrior.from_pretrained(tmp_path, **options)
        assert prior.dtype == dtype and prior.head.weight.dtype == torch.float32
    assert JukeboxPrior.from_pretrained(tmp_path, torch_dtype="float32").dtype == torch.float32


def test_a_prior_halved_as_a_whole_runs_too() -> None:
    """Frameworks that cast parameters themselves halve every weight."""


def test_a_prior_converted_entirely_to_half_precision_runs() -> None:
    """`pipe.to(torch.bfloat16)` casts every weight."""
    reference = random_prior("lyrics_order_8")
    prior = JukeboxPrior(reference.config)
    prior.load_state_dict(reference.state_dict())
    torch.nn.Module.to(prior.eval(), torch.bfloat16)
    inputs = random_inputs(prior.config)
    expected = full_logits(reference, inputs)
    assert (full_logits(prior, inputs) - expected).abs().max() < 0.3 * expected.abs().max()
    assert (step_logits(prior, inputs, known=7) - expected[:, 7:]).abs().max() < 0.3 * expected.abs().max()


# Saving and initial weights --------------------------------------------------------------------------------------


@each_prior
def test_a_saved_prior_loads_unchanged(name: str, tmp_path: Path) -> None:
    prior = random_prior(name)
    prior.save_pretrained(tmp_path)
    loaded = JukeboxPrior.from_pretrained(tmp_path)
    assert loaded.config.to_diff_dict() == prior.config.to_diff_dict()
    ours, theirs = prior.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    tied = loaded.head.weight.data_ptr() == loaded.token_embedding.weight.data_ptr()
    assert tied == (not prior.config.merged_decoder)
    inputs = random_inputs(prior.config)
    assert torch.equal(full_logits(loaded, inputs), full_logits(prior, inputs))


def initial(**overrides: object) -> JukeboxPrior:
    """A prior wide enough to measure the spread of its initial weights."""
    config = JukeboxPriorConfig.from_preset(
        "tiny_lyrics_prior", hidden_size=256, lyrics_hidden_size=128, init_scale=0.5, lyrics_init_scale=2.0, **overrides
    )
    torch.manual_seed(0)
    return JukeboxPrior(config)


def assert_spread(weight: torch.Tensor, std: float) -> None:
    assert weight.std().item() == pytest.approx(std, rel=0.1)
    assert abs(weight.mean().item()) < std / 5


def test_initial_weights_have_the_published_spread() -> None:
    prior = initial()
    assert prior.lyrics_encoder is not None
    assert prior.label_embedding is not None
    assert prior.timing_embedding is not None
    assert_spread(prior.token_embedding.weight, 0.02 * 0.5)
    assert_spread(prior.position_embedding, 0.01 * 0.5)
    assert_spread(prior.label_embedding.artist.weight, 0.01 * 0.5)
    assert_spread(prior.timing_embedding.total_length.weight, 0.01 * 0.5)
    assert_spread(prior.lyrics_head.weight, 0.02 * 0.5)
    assert_spread(prior.lyrics_encoder.token_embedding.weight, 0.02 * 2.0)
    assert_spread(prior.lyrics_encoder.position_embedding, 0.01 * 2.0)
    assert_spread(prior.lyrics_encoder.start_embedding, 0.01 * 2.0)
    assert_spread(prior.lyrics_encoder.proj.weight, 0.02 * 2.0)
    assert prior.head.weight is prior.token_embedding.weight
    for transformer, scale in ((prior.transformer, 0.5), (prior.lyrics_encoder.transformer, 2.0)):
        for block in transformer.blocks:
            if isinstance(block.attn, LyricsAttention):
                assert not block.attn.out_proj.weight.any()
                assert not block.mlp.fc2.weight.any()
                assert_spread(block.attn.kv_proj.weight, 0.02 * scale)
            else:
                assert_spread(block.attn.qkv_proj.weight, 0.02 * scale)
                assert_spread(block.attn.out_proj.weight, 0.02 * scale)
                assert_spread(block.mlp.fc2.weight, 0.02 * scale)
            assert_spread(block.mlp.fc1.weight, 0.02 * scale)


def test_initial_biases_are_zero_and_norms_are_one() -> None:
    prior = initial()
    for name, weight in prior.named_parameters():
        if name.endswith("bias"):
            assert not weight.any(), name
        elif "norm" in name:
            assert (weight == 1).all(), name


def test_the_start_embedding_is_initialised_like_a_position() -> None:
    torch.manual_seed(0)
    prior = JukeboxPrior(JukeboxPriorConfig.from_preset("tiny_prior", hidden_size=1024, num_hidden_layers=1))
    assert_spread(prior.start_embedding, 0.01 * 0.7)


def test_the_untied_output_and_convolutions_have_pytorchs_initialisation() -> None:
    merged = initial(merged_decoder=True)
    assert_spread(merged.head.weight, 1 / (3 * 256) ** 0.5)  # uniform in +-1 / sqrt(fan in)
    torch.manual_seed(0)
    upsampler = JukeboxPrior(JukeboxPriorConfig.from_preset("tiny_upsampler", conditioner_width=64))
    assert upsampler.conditioner is not None
    conv = upsampler.conditioner.upsampler.stacks[0][0].conv1
    assert_spread(conv.weight, 1 / (3 * 64 * 3) ** 0.5)
    assert conv.bias.abs().max() <= 1 / (64 * 3) ** 0.5
    assert conv.bias.any()
    assert_spread(upsampler.conditioner.embedding.weight, 0.02 * 0.7)


# Bad input -------------------------------------------------------------------------------------------------------


def test_bad_input_is_reported_in_one_sentence() -> None:
    top, labelled, upsampler = random_prior("folded"), random_prior("labelled"), random_prior("upsampler")
    codes = torch.zeros(1, 24, dtype=torch.long)
    with pytest.raises(ValueError, match="A window holds 24 codes, but 25 were given; cut them"):
        top(torch.zeros(1, 25, dtype=torch.long))
    with pytest.raises(ValueError, match="level 2 takes no upper_codes"):
        top(codes, upper_codes=codes)
    with pytest.raises(ValueError, match="level 0 is an upsampler and needs upper_codes"):
        upsampler(codes)
    with pytest.raises(ValueError, match="24 codes of level 0 need 6 codes of the level above, but only 5"):
        upsampler(codes, upper_codes=codes[:, :5])
    with pytest.raises(ValueError, match="label rows of 6 numbers, but got none; make them with JukeboxTokenizer"):
        labelled(codes)
    with pytest.raises(ValueError, match="label rows of 6 numbers, but got rows of 9"):
        labelled.prefill(labelled.init_state(1), codes[:, :3], labels=torch.zeros(1, 9, dtype=torch.long))
    with pytest.raises(ValueError, match="This prior cannot align lyrics"):
        labelled.alignment(codes, torch.zeros(1, 6, dtype=torch.long))


def _uses_of_codes(prior: JukeboxPrior, inputs: Inputs) -> list[Callable[[torch.Tensor], Any]]:
    """Return all that reads a window of codes, without what reads its first codes alone."""
    own = inputs.upper_codes, inputs.labels
    uses: list[Callable[[torch.Tensor], Any]] = [
        lambda codes: prior(codes, *own),
        lambda codes: [*prior.iter_hidden_states(codes, *own)],
    ]
    if prior.config.lyrics_scheme is not None and inputs.labels is not None:
        labels = inputs.labels
        uses.append(lambda codes: prior.lyric_attention(codes, labels, [(0, 0)]))
    return uses


@pytest.mark.parametrize("name", CONFIGS)
def test_codes_that_do_not_fit_are_refused_in_one_sentence(name: str) -> None:
    prior = random_prior(name)
    inputs, state = random_inputs(prior.config), prior.init_state(2)
    codes = inputs.codes
    bad = {
        r"must be \[B, T\], but has the shape \[\d+\]; give one row as": codes[0],
        r"must be \[B, T\], but has the shape \[1, 2, \d+\]; give those of one level": codes[None],
        "must be whole numbers, not torch.float32; give codes as int64": codes.float(),
        "must be whole numbers, not torch.bool": codes > 3,
        "must lie between 0 and 10, the codebook of this prior": codes.masked_fill(codes == 3, -1),
        "must lie between 0 and 10,": codes.masked_fill(codes == 3, 11),
    }
    for message, given in bad.items():
        for use in _uses_of_codes(prior, inputs):
            with pytest.raises(ValueError, match=f"^`codes` {message}"):
                use(given)
        with pytest.raises(ValueError, match=f"^`prefix` {message}"):
            prior.prefill(state, given, inputs.upper_codes, inputs.labels)
        if inputs.upper_codes is not None:
            with pytest.raises(ValueError, match=f"^`upper_codes` {message}"):
                prior(codes, given, inputs.labels)
    for use in _uses_of_codes(prior, inputs):
        with pytest.raises(ValueError, match="`codes` are empty; give at least one code"):
            use(codes[:, :0])
    prior.prefill(state, codes[:, :0], inputs.upper_codes, inputs.labels)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
@pytest.mark.parametrize("name", ["folded", "joint_lyrics", "labelled_upsampler"])
def test_codes_of_any_whole_numbers_are_scored_and_prefilled_alike(name: str, dtype: torch.dtype) -> None:
    prior = random_prior(name)
    inputs = random_inputs(prior.config)
    upper = None if inputs.upper_codes is None else inputs.upper_codes.to(dtype)
    other = Inputs(inputs.codes.to(dtype), upper, inputs.labels)
    with torch.no_grad():
        expected, found = (prior(each.codes, each.upper_codes, each.labels) for each in (inputs, other))
    assert torch.equal(found.loss, expected.loss) and torch.equal(found.logits, expected.logits)
    states = [prior.init_state(2) for _ in (inputs, other)]
    for state, each in zip(states, (inputs, other), strict=True):
        prior.prefill(state, each.codes[:, :5], each.upper_codes, each.labels)
    ours, theirs = (state.tensors() for state in states)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_forward_pass_without_labels_can_be_compiled_as_one_graph() -> None:
    prior = random_prior("folded")
    codes = random_inputs(prior.config).codes
    torch._dynamo.reset()
    compiled = torch.compile(prior, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(codes).logits, prior(codes).logits)


@pytest.mark.parametrize(
    ("timing", "message"),
    [
        ((99, 0, 96), "total length of 99 samples is outside the range of the model, from 100 to less than 6000"),
        ((6000, 0, 96), "total length of 6000 samples is outside"),
        ((1000, 1000, 96), "offset of 1000 samples must lie inside the song of 1000"),
        ((1000, -1, 96), "offset of -1 samples must lie inside"),
        ((5999, 5905, 96), "A window of 96 samples at offset 5905 ends after 6000"),
    ],
)
def test_timing_outside_the_tables_is_rejected(timing: tuple[int, int, int], message: str) -> None:
    prior = random_prior("labelled")
    labels = torch.tensor([[2000, 0, 96, 1, 1, -1], [*timing, 1, 1, -1]])
    with pytest.raises(ValueError, match=message):
        prior(torch.zeros(2, 24, dtype=torch.long), labels=labels)
