import json
from pathlib import Path

import pytest
import torch
from helpers.forked import run_on
from helpers.tiny_training import loop_arguments, prior_trainer, tiny_prior, tiny_vqvae

from hf_jukebox import JukeboxPrior, JukeboxVQVAE

SCRIPT = Path(__file__).with_name("run_on_two.py")
STEPS = 3


def train(processes: int, kind: str, start: Path, output: Path, *flags: str, batch_size: int = 4) -> dict[int, float]:
    """Train with a batch of `batch_size` examples over all processes, and return the loss of every step."""
    for done in run_on(processes, SCRIPT, kind, start, output, batch_size // processes, *flags):
        assert done.returncode == 0, done.stderr
    losses = json.loads((output / "losses.json").read_text())
    return {int(step): loss for step, loss in losses.items()}


def close(first: dict[int, float], second: dict[int, float]) -> bool:
    return first.keys() == second.keys() and all(
        abs(loss - second[step]) <= 1e-5 * max(1, abs(loss)) for step, loss in first.items()
    )


@pytest.fixture
def vqvae_folder(tmp_path):
    """Folder of a partly trained VQ-VAE without restarts of codes, which are random."""
    vqvae = tiny_vqvae(restart_threshold=0.0, l2_normalizer=0.1, spectral_normalizer=30.0)
    vqvae.train()(torch.rand(4, 2048, generator=torch.Generator().manual_seed(1)) - 0.5)
    vqvae.save_pretrained(tmp_path / "start")
    return tmp_path / "start"


@pytest.fixture
def prior_folder(tmp_path):
    tiny_prior("tiny_labelled_prior").save_pretrained(tmp_path / "start")
    return tmp_path / "start"


def test_two_processes_update_a_vqvae_like_one_process_with_the_whole_batch(tmp_path, vqvae_folder):
    one = train(1, "vqvae", vqvae_folder, tmp_path / "one")
    two = train(2, "vqvae", vqvae_folder, tmp_path / "two")
    assert close(one, two)
    first, second = (JukeboxVQVAE.from_pretrained(tmp_path / name) for name in ("one", "two"))
    for here, there in zip(first.quantizers, second.quantizers, strict=True):
        for name in ("codebook", "running_count", "running_sum"):
            torch.testing.assert_close(getattr(here, name), getattr(there, name), atol=1e-5, rtol=1e-5)


def test_sharded_training_equals_data_parallel_and_its_checkpoint_loads_in_one_process(tmp_path, prior_folder):
    parallel = train(2, "prior", prior_folder, tmp_path / "parallel")
    sharded = train(2, "prior", prior_folder, tmp_path / "sharded", "--sharded")
    assert close(parallel, sharded)
    shards = list((tmp_path / "sharded" / "checkpoint-3" / "training_state").glob("shard-*.safetensors"))
    assert len(shards) == 2

    arguments = loop_arguments(
        tmp_path / "sharded", train_batch_size=4, max_train_steps=STEPS, resume_from_checkpoint="latest"
    )
    alone = prior_trainer(arguments, tiny_prior("tiny_labelled_prior"))
    alone.resume()
    assert alone.step == STEPS
    trained = JukeboxPrior.from_pretrained(tmp_path / "parallel").state_dict()
    for name, tensor in alone.ema.state_dict().items():
        torch.testing.assert_close(tensor, trained[name], atol=1e-5, rtol=1e-4)

    resumed_alone = train(1, "prior", prior_folder, tmp_path / "sharded", "--resume")
    resumed_parallel = train(2, "prior", prior_folder, tmp_path / "parallel", "--resume")
    assert close(resumed_alone, resumed_parallel)
