"""Encoding of a data set as a program, with its options."""

from __future__ import annotations

from dataclasses import dataclass, field

from accelerate import Accelerator
from tqdm.auto import tqdm

from ..console.lines import write_line
from ..convert.parts import load_part
from ..modeling_vqvae import JukeboxVQVAE
from .data import SourceArguments, encode_songs


@dataclass(kw_only=True)
class EncodeArguments(SourceArguments):
    """Options of the songs, the VQ-VAE and the folder of the codes."""

    vqvae: str = field(metadata={"help": "Folder or Hub repository of the VQ-VAE, or of a pipeline."})
    output_dir: str = field(metadata={"help": "Folder for the codes."})
    songs_per_shard: int = field(
        default=16, metadata={"help": "Songs per file of codes, which an interruption may cost each process."}
    )
    num_threads: int = field(default=2, metadata={"help": "Songs that each process decodes ahead of the encoder."})


def encode(arguments: EncodeArguments) -> None:
    """Encode the songs on all processes, with a progress bar, and print how many there are.

    Raises:
        OSError, ValueError: the data or the options cannot be used; the message says what to change.
    """
    accelerator = Accelerator()
    songs = arguments.open_songs()
    vqvae = load_part(JukeboxVQVAE, arguments.vqvae, "vqvae").to(accelerator.device)
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
        write_line(f"{len(cache.songs)} songs, {seconds / 3600:.2f} hours, in {cache.folder}")
        if cache.unreadable:
            write_line(f"{len(cache.unreadable)} songs could not be read: {', '.join(cache.unreadable)}")
