"""One of two processes that validate together: started by test_validation.py.

    validate_on_two.py OUTPUT BATCH_OF_A_PROCESS HELD_OUT

validates a new model on HELD_OUT examples, and writes the loss to OUTPUT/metrics.jsonl.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from accelerate import PartialState
from helpers.tiny_training import loop_arguments, vqvae_trainer


def main(output: str, batch_size: str, held_out: str) -> None:
    torch.set_num_threads(1)
    arguments = loop_arguments(Path(output), train_batch_size=int(batch_size))
    vqvae_trainer(arguments, held_out=int(held_out)).validate()


if __name__ == "__main__":
    main(*sys.argv[1:])
    PartialState().destroy_process_group()  # otherwise the threads of gloo may outlive the interpreter, and abort
