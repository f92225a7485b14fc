r"""Train a VQ-VAE on your own recordings.

    hf-jukebox train vqvae --train_data_dir SONGS --output_dir runs/vqvae

A first try, on a CPU, in minutes:

    hf-jukebox train vqvae --train_data_dir SONGS --output_dir runs/vqvae --preset tiny_vqvae \
        --chunk_length 16384 --max_train_steps 200

Several GPUs: accelerate launch -m hf_jukebox.train_vqvae, with the same options. To resume an interrupted run, repeat
the command with --resume_from_checkpoint latest. To finish with a decay of the learning rate to 0, add
--lr_anneal_start STEP --max_train_steps END. See docs/training.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from .console.training_program import training_program


def main(words: Sequence[str] | None = None, program: str | None = None) -> None:
    """Train as the options say; wrong input ends the process with one line and exit status 2.

    Args:
        words: Arguments of the command line; by default those of the process.
        program: Name of the command, for help and errors; by default that of the process.
    """
    with training_program(program):
        from .training.arguments import LoopArguments, run
        from .training.data import DataArguments
        from .training.train_vqvae import VQVAEArguments, train_vqvae

    run(train_vqvae, [VQVAEArguments, DataArguments, LoopArguments], __doc__, words=words, program=program)


if __name__ == "__main__":
    main()
