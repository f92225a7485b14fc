"""One of two processes that train together: started by test_distributed.py.

    run_on_two.py KIND START OUTPUT BATCH_OF_A_PROCESS [--sharded] [--resume]

trains the model in START for three steps, and writes its losses to OUTPUT/losses.json.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from helpers.tiny_training import RecordingTrainer, loop_arguments, prior_trainer, vqvae_trainer
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from hf_jukebox import JukeboxPrior, JukeboxVQVAE


def shard(self, model):
    """Shard the model over the processes in place of data parallelism.

    Accelerate's own flag would silently train data parallel on CPUs.
    """
    mesh = init_device_mesh("cpu", (self.accelerator.num_processes,))
    for block in model.transformer.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model, self._make_optimizer(model)


def main(kind: str, start: str, output: str, batch_size: str, *flags: str) -> None:
    torch.set_num_threads(1)
    if "--sharded" in flags:
        RecordingTrainer._prepare = shard
    options = (
        {"resume_from_checkpoint": "latest", "max_train_steps": 5} if "--resume" in flags else {"max_train_steps": 3}
    )
    arguments = loop_arguments(
        Path(output), train_batch_size=int(batch_size), checkpointing_steps=3, lr_warmup_steps=0, **options
    )
    if kind == "vqvae":
        trainer = vqvae_trainer(arguments, JukeboxVQVAE.from_pretrained(start))
    else:
        trainer = prior_trainer(arguments, JukeboxPrior.from_pretrained(start))
    trainer.train()
    losses = gather_object([trainer.losses])
    if trainer.accelerator.is_main_process:
        mean = {step: sum(each[step] for each in losses) / len(losses) for step in losses[0]}
        (Path(output) / "losses.json").write_text(json.dumps(mean))


if __name__ == "__main__":
    main(*sys.argv[1:])
    PartialState().destroy_process_group()  # otherwise the threads of gloo may outlive the interpreter, and abort
