# ruff: noqa: E402
"""Train a prior: a top prior, or an upsampler, which adds the level below another one.

    accelerate launch examples/train_prior.py --vqvae runs/vqvae --train_data_dir SONGS --output_dir runs/top
    accelerate launch examples/train_prior.py --vqvae runs/vqvae --train_data_dir SONGS --output_dir runs/upsampler \\
        --level 0 --preset small_upsampler

Faster, with codes made once by examples/encode_dataset.py: --codes_dir CODES in place of --train_data_dir. With artists
and genres of a metadata.csv: --preset small_labelled_prior. Fine-tuning: --prior FOLDER_OR_REPO, with --lora_rank 16 on
a small device. Several GPUs and sharding: accelerate launch --config_file examples/accelerate/fsdp.yaml. To resume an
interrupted run, repeat the command with --resume_from_checkpoint latest. See docs/training.md.
"""

from hf_jukebox.console.quiet import hush_libraries

hush_libraries()  # before the imports below

from hf_jukebox.training.arguments import LoopArguments, run
from hf_jukebox.training.data import DataArguments
from hf_jukebox.training.prior_arguments import PriorArguments
from hf_jukebox.training.train_prior import train_prior

if __name__ == "__main__":
    run(train_prior, [PriorArguments, DataArguments, LoopArguments], __doc__)
