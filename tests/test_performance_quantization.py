"""Weight-only quantisation as transformers and diffusers do it, and what it does to the logits."""

from pathlib import Path

import pytest
import torch
from diffusers.quantizers import PipelineQuantizationConfig
from helpers.tiny import codes_in_s, tiny_pipeline
from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup
from transformers import TorchAoConfig

from hf_jukebox import JukeboxPipeline, JukeboxPrior
from hf_jukebox.sampling.step_runner import StepRunner

INT4 = IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("config", "allowed"), [(Int8WeightOnlyConfig(), 0.02), (INT4, 0.3)])
def test_a_quantised_prior_scores_and_draws_nearly_as_before(folder, config, allowed):
    plain = JukeboxPrior.from_pretrained(folder / "prior_2")
    prior = JukeboxPrior.from_pretrained(folder / "prior_2", quantization_config=TorchAoConfig(config))
    assert type(prior.transformer.blocks[0].mlp.fc1.weight) is not torch.nn.Parameter
    assert type(prior.head.weight) is torch.nn.Parameter  # what is read once a code stays as it is
    codes = torch.randint(64, (2, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = plain(codes), prior(codes)
    assert abs(after.code_loss / before.code_loss - 1) < allowed
    state = prior.init_state(2)
    prior.prefill(state, codes[:, :20])
    logits = prior.step(state, codes[:, 19], torch.tensor([20]))
    torch.testing.assert_close(logits, after.logits[:, 20], atol=1e-3, rtol=1e-3)


@pytest.mark.compiler
def test_a_pipeline_with_a_quantised_prior_draws_compiled(folder):
    config = PipelineQuantizationConfig(quant_mapping={"prior_2": TorchAoConfig(Int8WeightOnlyConfig())})
    pipe = JukeboxPipeline.from_pretrained(folder, quantization_config=config)
    pipe.set_progress_bar_config(disable=True)

    def draw() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return pipe(audio_length_in_s=codes_in_s(20), levels=2, generator=generator, output_type="latent").codes[2]

    eager = draw()
    pipe.compile()
    assert pipe._steps == StepRunner(compiled=True)
    assert torch.equal(draw(), eager)


def test_a_quantised_model_is_not_cast(folder):
    prior = JukeboxPrior.from_pretrained(folder / "prior_2", quantization_config=TorchAoConfig(Int8WeightOnlyConfig()))
    for cast in (prior.half, prior.bfloat16, lambda: prior.to(torch.float16), lambda: prior.to("cpu", torch.float16)):
        with pytest.raises(ValueError, match="pass `dtype` beside `quantization_config`"):
            cast()
    assert prior.to("cpu").transformer.blocks[0].mlp.fc1.bias.dtype == torch.float32


def test_a_quantised_model_is_not_saved_but_told_of(folder, tmp_path):
    int8 = TorchAoConfig(Int8WeightOnlyConfig())
    prior = JukeboxPrior.from_pretrained(folder / "prior_2", quantization_config=int8)
    config = PipelineQuantizationConfig(quant_mapping={"prior_2": int8})
    pipe = JukeboxPipeline.from_pretrained(folder, quantization_config=config)
    for model in (prior, pipe):
        with pytest.raises(ValueError, match="save it before it is quantised, and pass `quantization_config`"):
            model.save_pretrained(tmp_path / "saved")
    assert not list(tmp_path.iterdir())
