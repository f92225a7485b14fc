# ruff: noqa: E402
"""Train a VQ-VAE on your own recordings.

    accelerate launch examples/train_vqvae.py --train_data_dir SONGS --output_dir runs/vqvae

A first try, on a CPU, in minutes:

    python examples/train_vqvae.py --train_data_dir SONGS --output_dir runs/vqvae --preset tiny_vqvae \\
        --chunk_length 16384 --max_train_steps 200

To resume an interrupted run, repeat the command with --resume_from_checkpoint latest. To finish with a decay of the
learning rate to 0, add --lr_anneal_start STEP --max_train_steps END. See docs/training.md.
"""

from hf_jukebox.console.quiet import hush_libraries

hush_libraries()  # before the imports below

from hf_jukebox.training.arguments import LoopArguments, run
from hf_jukebox.training.data import DataArguments
from hf_jukebox.training.train_vqvae import VQVAEArguments, train_vqvae

if __name__ == "__main__":
    run(train_vqvae, [VQVAEArguments, DataArguments, LoopArguments], __doc__)
