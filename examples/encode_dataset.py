# ruff: noqa: E402
"""Encode the songs of a data set once, so that priors train without the VQ-VAE.

    accelerate launch examples/encode_dataset.py --train_data_dir SONGS --vqvae FOLDER_OR_REPO --output_dir CODES

Run it again to resume after an interruption, or to add songs. See docs/training-data.md.
"""

from dataclasses import dataclass, field

from hf_jukebox.console.quiet import hush_libraries

hush_libraries()  # before the imports below

from accelerate import Accelerator
from tqdm.auto import tqdm

from hf_jukebox import JukeboxVQVAE
from hf_jukebox.training.arguments import run
from hf_jukebox.training.data import SourceArguments, encode_songs


@dataclass(kw_only=True)
class EncodeArguments(SourceArguments):
    """Options of the songs, the VQ-VAE and the folder of the codes."""

    vqvae: str = field(metadata={"help": "Folder or Hub repository of the VQ-VAE."})
    output_dir: str = field(metadata={"help": "Folder for the codes."})
    songs_per_shard: int = field(
        default=16, metadata={"help": "Songs per file of codes, which an interruption may cost each process."}
    )
    num_threads: int = field(default=2, metadata={"help": "Songs that each process decodes ahead of the encoder."})


def main(arguments: EncodeArguments) -> None:
    accelerator = Accelerator()
    songs = arguments.open_songs()
    vqvae = JukeboxVQVAE.from_pretrained(arguments.vqvae).to(accelerator.device)
    total = -(-len(songs) // accelerator.num_processes) if isinstance(songs, list) else None
    with tqdm(total=total, unit="song", disable=not accelerator.is_main_process) as progress:
        cache = encode_songs(
            songs,
            vqvae,
            arguments.output_dir,
            songs_per_shard=arguments.songs_per_shard,
            num_threads=arguments.num_threads,
            on_song=lambda name: progress.update(),
        )
    if accelerator.is_main_process:
        seconds = sum(song.num_samples for song in cache.songs) / cache.config.sampling_rate
        print(f"{len(cache.songs)} songs, {seconds / 3600:.2f} hours, in {cache.folder}")
        if cache.unreadable:
            print(f"{len(cache.unreadable)} songs could not be read: {', '.join(cache.unreadable)}")


if __name__ == "__main__":
    run(main, [EncodeArguments], __doc__, again="the same command")
