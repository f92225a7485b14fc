"""Trains a VQ-VAE, a prior and an adapter of that prior, and uploads them to the Hub of HF_ENDPOINT.

run_and_push.py FOLDER
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.tiny_training import loop_arguments, prior_trainer, tiny_prior, vqvae_trainer

from hf_jukebox import JukeboxPrior
from hf_jukebox.training.lora import add_adapter


def main(folder: Path) -> None:
    options = {"max_train_steps": 1, "push_to_hub": True, "learning_rate": 0.01, "lr_warmup_steps": 0, "use_ema": False}
    vqvae_trainer(loop_arguments(folder / "vqvae", **options)).train()
    arguments = loop_arguments(folder / "prior", hub_model_id="band/top", **options)
    prior_trainer(arguments, tiny_prior("tiny_labelled_prior", init_scale=4.0)).train()
    prior = JukeboxPrior.from_pretrained("band/top")
    add_adapter(prior, 2)
    prior_trainer(loop_arguments(folder / "adapted", **options), prior).train()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
