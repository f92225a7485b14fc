r"""Train a prior: a top prior, or an upsampler, which adds the level below another one.

    hf-jukebox train prior --vqvae runs/vqvae --train_data_dir SONGS --output_dir runs/top
    hf-jukebox train prior --vqvae runs/vqvae --train_data_dir SONGS --output_dir runs/upsampler \
        --level 0 --preset small_upsampler

Faster, with codes made once by hf-jukebox encode: --codes_dir CODES in place of --train_data_dir. With artists and
genres of a metadata.csv: --preset small_labelled_prior. Fine-tuning: --prior FOLDER_OR_REPO, with --lora_rank 16 on a
small device. Several GPUs and sharding: accelerate launch --config_file FILE -m hf_jukebox.train_prior, with the same
options. To resume an interrupted run, repeat the command with --resume_from_checkpoint latest. See docs/training.md.
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
        from .training.prior_arguments import PriorArguments
        from .training.train_prior import train_prior

    run(train_prior, [PriorArguments, DataArguments, LoopArguments], __doc__, words=words, program=program)


if __name__ == "__main__":
    main()
