"""Trains for eight steps, a checkpoint at every other one, and appends the exact loss of each to losses.txt."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.tiny_training import loop_arguments, vqvae_trainer

folder, slow = Path(sys.argv[1]), "--slow" in sys.argv
folder.mkdir(exist_ok=True)
arguments = loop_arguments(folder, max_train_steps=8, checkpointing_steps=2, resume_from_checkpoint="latest")
trainer = vqvae_trainer(arguments)
step = trainer.train_step


def noted_step(batches):
    figures = step(batches)
    with open(folder / "losses.txt", "a") as file:
        file.write(f"{trainer.step} {figures['loss'].item().hex()}\n")
    if slow:
        time.sleep(0.3)  # time to kill the process
    return figures


trainer.train_step = noted_step
trainer.train()
