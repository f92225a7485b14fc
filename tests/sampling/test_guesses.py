"""Steps that sample several codes of a song sample those that steps of one code would."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from helpers.one_block import convert_layers
from helpers.pieces import NUM_CODES, sampled, task
from helpers.random_priors import CONFIGS, random_prior

from hf_jukebox.layers.attention import StepPosition
from hf_jukebox.layers.fast_paths import step_linear
from hf_jukebox.layers.transformer import Transformer
from hf_jukebox.sampling.batch import BatchSampler
from hf_jukebox.sampling.options import SamplingSettings
from hf_jukebox.sampling.step import sample_code
from hf_jukebox.sampling.step_runner import StepRunner

ONE_CODE = (1,)


class OperatorSteps:
    """The blocks of a transformer over several positions, by their operators, one position after the other."""

    def __init__(self, transformer: Transformer, batch_size: int) -> None:
        self.transformer = transformer

    def step(self, x: torch.Tensor, at: StepPosition, caches: Sequence[torch.Tensor]) -> torch.Tensor:
        if at.count is None:
            return self.transformer.step(x, at, caches)
        out = x.clone()
        for row in range(int(at.count)):
            position = at.position[row : row + 1]
            own = StepPosition.at(position, at.index, self.transformer.shape.attention)
            out[row] = self.transformer.step(x[row : row + 1], own, caches)[0]
        return out

    def linear(self, layer: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([step_linear(layer, row) for row in x.split(1)])


class Uncompiled:
    """A compiled step that was not compiled."""

    def repeat_on(self, *tensors: Any) -> Any:
        return partial(sample_code, *tensors)


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is only done in compiled steps be done by operators."""
    monkeypatch.setattr("hf_jukebox.sampling.step_runner.check_can_compile", lambda device: None)
    monkeypatch.setattr("hf_jukebox.layers.fused_cpu.fuse", OperatorSteps)
    monkeypatch.setattr(StepRunner, "_compile", lambda *arguments: Uncompiled())


@pytest.mark.usefixtures("without_compiler")
@pytest.mark.parametrize("sizes", [(16,), (3,), (1, 2, 4)])
@pytest.mark.parametrize("name", CONFIGS)
def test_several_codes_a_step_are_those_sampled_one_by_one(name: str, sizes: tuple[int, ...]) -> None:
    """With prompts, several windows that end within a row, and other temperatures."""
    prior = random_prior(name)
    expected = sampled(prior, StepRunner(), 1)
    codes = sampled(prior, StepRunner(compiled=True, sizes=sizes), 1)
    assert all(torch.equal(a, b) for a, b in zip(codes, expected, strict=True))


@pytest.mark.usefixtures("without_compiler")
def test_whatever_is_guessed_the_codes_are_the_same_and_right_guesses_save_steps() -> None:
    prior, settings = random_prior("upsampler"), SamplingSettings(1.0)
    piece = task(prior, 1, 0, settings)
    assert [*BatchSampler(prior, piece)][-1] == NUM_CODES
    expected = piece.codes[0]

    def num_steps(error: int | None) -> int:
        """Sample with guesses that are wrong by `error`, or with the usual ones, and return the number of steps."""
        steps = StepRunner(compiled=True, sizes=(4,))
        ready, again = steps.get(prior, 1, settings), task(prior, 1, 0, settings)
        run, guesses, starts = ready.run, ready.buffers.guesses, []
        assert guesses is not None

        def guess_and_run() -> int:
            starts.append(sampler.filled)
            following = torch.arange(starts[-1], starts[-1] + 3).clamp_max(NUM_CODES - 1)
            if error is not None:
                guesses.codes.copy_((expected[following] + error) % prior.config.codebook_size)
            return run()

        ready.run = guess_and_run
        sampler = BatchSampler(prior, again, steps=steps)
        assert [*sampler] == list(range(1, NUM_CODES + 1))
        assert torch.equal(again.codes[0], expected)
        return len(starts)

    assert num_steps(error=1) == NUM_CODES
    assert num_steps(error=0) < 0.4 * NUM_CODES  # four codes, but at the ends of rows, which have six
    assert num_steps(error=0) < num_steps(error=None) <= NUM_CODES


@pytest.mark.usefixtures("without_compiler")
@pytest.mark.parametrize("name", ["upsampler", "joint_lyrics"])
def test_a_snapshot_among_the_codes_of_one_step_resumes_with_the_same_codes(name: str) -> None:
    prior, settings = random_prior(name), SamplingSettings(0.5)
    piece, steps = task(prior, 1, 0, settings), StepRunner(compiled=True, sizes=(8,))
    snapshots = {}
    sampler = BatchSampler(prior, piece, steps=steps)
    for filled in sampler:
        assert torch.equal(sampler.codes(), piece.codes[:, :filled])
        snapshots[filled] = sampler.snapshot()
    for filled, snapshot in snapshots.items():
        assert snapshot.filled == filled
        again = task(prior, 1, 0, settings)
        assert [*BatchSampler(prior, again, snapshot, steps)] == list(range(filled + 1, NUM_CODES + 1))
        assert torch.equal(again.codes, piece.codes)


@pytest.mark.usefixtures("without_compiler")
def test_only_a_compiled_step_of_one_song_that_avoids_nothing_guesses() -> None:
    prior, settings = random_prior("upsampler"), SamplingSettings()
    compiled = StepRunner(compiled=True)
    assert compiled.get(prior, 1, settings).buffers.guesses is not None
    assert compiled.get(prior, 2, settings).buffers.guesses is None
    assert compiled.get(prior, 1, settings, is_guarded=True).buffers.guesses is None
    assert StepRunner().get(prior, 1, settings).buffers.guesses is None
    assert StepRunner(compiled=True, sizes=ONE_CODE).get(prior, 1, settings).buffers.guesses is None


@pytest.mark.compiler
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("labelled_upsampler", "float32"),
        ("labelled_upsampler", "bfloat16"),
        ("labelled_upsampler", "int8"),
        ("lyrics_order_10", "float32"),
        ("joint_lyrics", "float32"),
    ],
)
def test_so_are_those_of_the_kernels_to_the_bit(name: str, precision: str) -> None:
    prior = random_prior.__wrapped__(name)  # one of its own, which may be changed
    convert_layers(prior.transformer, precision)
    expected = sampled(prior, StepRunner(compiled=True, sizes=ONE_CODE), 1)
    codes = sampled(prior, StepRunner(compiled=True, sizes=(8,)), 1)
    assert all(torch.equal(a, b) for a, b in zip(codes, expected, strict=True))
