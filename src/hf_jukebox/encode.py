"""Encode the songs of a data set once, so that priors train without the VQ-VAE.

    hf-jukebox encode --train_data_dir SONGS --vqvae FOLDER_OR_REPO --output_dir CODES

Several GPUs: accelerate launch -m hf_jukebox.encode, with the same options. Run it again to resume after an
interruption, or to add songs. See docs/training-data.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from .console.training_program import training_program


def main(words: Sequence[str] | None = None, program: str | None = None) -> None:
    """Encode as the options say; wrong input ends the process with one line and exit status 2.

    Args:
        words: Arguments of the command line; by default those of the process.
        program: Name of the command, for help and errors; by default that of the process.
    """
    with training_program(program):
        from .training.arguments import run
        from .training.encode import EncodeArguments, encode

    run(encode, [EncodeArguments], __doc__, "the same command", words=words, program=program)


if __name__ == "__main__":
    main()
