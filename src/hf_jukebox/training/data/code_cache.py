"""Cache of codes: the songs of a data set, encoded once.

A folder of shards `codes-00000.safetensors`, `codes-00001.safetensors` ..., each with the codes of some songs at every
level, and index.json, which names the songs, the shard of each, and the VQ-VAE that made the codes.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ...configuration_checks import own_settings
from ...configuration_jukebox import JukeboxVQVAEConfig
from ...files.atomic import replacing
from ...files.text import read_json_object, text_value, whole_value
from ...hierarchy import encoder_fingerprint
from ...layers.quantizer import are_codes
from ...modeling_vqvae import JukeboxVQVAE
from .songs import SongMetadata

INDEX = "index.json"
FORMAT = 1
_MOST_INDEX_BYTES = 2**30  # lyrics of a million songs
_MOST_SAMPLES, _MOST_SHARDS = 2**40, 2**31
_DTYPES = ("I16", "I32")
_HEADER = "hf_jukebox"  # the entry of a shard's metadata that holds its ShardHeader


@dataclass(frozen=True)
class CodedSong:
    """Song of a cache.

    Attributes:
        metadata: Name and labels.
        num_samples: Length of the recording, at the VQ-VAE's rate.
        position: Index among the songs of the data, readable or not.
        shard, shard_index: Number of the shard with its codes, and index among the songs of that shard.
    """

    metadata: SongMetadata
    num_samples: int
    position: int
    shard: int
    shard_index: int


@dataclass(frozen=True)
class ShardEntry:
    """Song in the header of its shard: `num_samples` is None if it could not be read, and `error` says why."""

    name: str
    num_samples: int | None
    error: str | None = None


@dataclass(frozen=True)
class ShardHeader:
    """Header of a shard: the fingerprint of the VQ-VAE that made it, and its songs."""

    fingerprint: str
    entries: list[ShardEntry]

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.entries]


class CodeCache:
    """Codes of a data set, read from disk on access. Cheap to send to a worker process.

    Attributes:
        config: Config of the VQ-VAE that made the codes.
        fingerprint: Fingerprint of that VQ-VAE.
        metadata: Metadata of all songs of the data, readable or not.
        songs: Songs that have codes.
        unreadable: Reason why each other song has none, by name.

    Raises:
        FileNotFoundError: the folder holds no finished cache.
        ValueError: index.json is not ours.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        path = self.folder / INDEX
        if not path.is_file():
            raise FileNotFoundError(
                f"{self.folder} holds no finished codes ({INDEX} is missing); run hf-jukebox encode, which "
                "resumes where it stopped."
            )
        try:
            index = read_json_object(path, _MOST_INDEX_BYTES)
            if index["format"] != FORMAT:
                raise ValueError(f"format {index['format']!r}")
            self.fingerprint: str = text_value(index["fingerprint"])
            self.config = JukeboxVQVAEConfig(**own_settings(index["vqvae"], JukeboxVQVAEConfig))
            self.metadata = [_metadata(entry) for entry in index["metadata"]]
            self.songs = [_song(entry, self.metadata) for entry in index["songs"]]
            self.unreadable: dict[str, str] = {text_value(k): text_value(v) for k, v in index["unreadable"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} is not an index of codes that this version wrote; encode the songs again."
            ) from error
        self._check_songs(path)
        self._shards: dict[int, Any] = {}  # open files, by number

    def _check_songs(self, path: Path) -> None:
        """Refuse songs that share codes, and songs that are longer than the files of codes."""
        for name, values in (
            ("position", [song.position for song in self.songs]),
            ("codes", [(song.shard, song.shard_index) for song in self.songs]),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"{path} gives two songs the same {name}; encode the songs again.")
        hops = self.config.hop_lengths
        codes: Counter[int] = Counter()
        for song in self.songs:
            codes[song.shard] += sum(song.num_samples // hops[-1] * (hops[-1] // hop) for hop in hops)
        for shard, count in codes.items():
            file = self.folder / shard_name(shard)
            size = file.stat().st_size if file.is_file() else None
            if size is not None and count > size:  # a code takes at least two bytes
                raise ValueError(
                    f"{path} lists {count} codes in {file.name}, which has {size} bytes; encode the songs again."
                )

    def check(self, vqvae: JukeboxVQVAE) -> None:
        """Refuse a VQ-VAE that did not make these codes.

        Raises:
            ValueError: another VQ-VAE made them.
        """
        check_fingerprint(self.folder, self.fingerprint, encoder_fingerprint(vqvae))

    def read(self, song: CodedSong, level: int, start: int, length: int) -> torch.Tensor:
        """Read the codes `start` to `start + length` of a song at a level, LongTensor `[length]`.

        Raises:
            OSError: the shard is missing or damaged.
        """
        path, name = self.folder / shard_name(song.shard), tensor_name(song.shard_index, level)
        try:
            stored = self._shard(song.shard).get_slice(name)
            if stored.get_dtype() not in _DTYPES or len(stored.get_shape()) != 1:
                raise ValueError(f"{stored.get_dtype()} {stored.get_shape()}")
            codes = torch.from_numpy(stored[start : start + length]).long()
            if len(codes) != length or not are_codes(codes, self.config.codebook_size):
                raise ValueError(f"{len(codes)} of {length} codes")
        except (SafetensorError, ValueError, TypeError, IndexError) as error:
            raise OSError(
                f"{path} does not hold the codes of {song.metadata.name!r} ({error}); delete it and run "
                "hf-jukebox encode again."
            ) from error
        return codes

    def _shard(self, number: int) -> Any:
        if number not in self._shards:
            path = self.folder / shard_name(number)
            try:
                if not path.is_file():
                    raise FileNotFoundError(path)
                self._shards[number] = safe_open(path, framework="np")
            except (SafetensorError, OSError) as error:
                raise OSError(f"{path} is missing or damaged; delete it and run hf-jukebox encode again.") from error
        return self._shards[number]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_shards": {}}  # each process opens the files itself


def _metadata(entry: dict[str, Any]) -> SongMetadata:
    song = SongMetadata(**entry)
    for value in (song.artist, song.genre, song.lyrics):
        text_value(value or "")
    text_value(song.name)
    return song


def _song(entry: dict[str, Any], metadata: Sequence[SongMetadata]) -> CodedSong:
    for name, most in (("num_samples", _MOST_SAMPLES), ("shard", _MOST_SHARDS), ("place", _MOST_SHARDS)):
        whole_value(entry[name], most)
    entry = dict(entry)
    return CodedSong(
        metadata[whole_value(entry["position"], len(metadata) - 1)], shard_index=entry.pop("place"), **entry
    )


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"codes-{number:05d}.safetensors"


def tensor_name(shard_index: int, level: int) -> str:
    """Return the name of the tensor that holds the codes of a shard's song at a level."""
    return f"{shard_index}.level_{level}"


def check_fingerprint(folder: Path, found: str, wanted: str) -> None:
    """Refuse codes of another VQ-VAE."""
    if found != wanted:
        raise ValueError(
            f"{folder} holds codes of another VQ-VAE (fingerprint {found[:12]}, not {wanted[:12]}); use the VQ-VAE "
            "that made them, or encode the songs into another folder."
        )


def read_header(path: Path) -> ShardHeader | None:
    """Read the header of a shard; None if there is no complete shard of this format."""
    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
        if header["format"] != FORMAT:
            return None
        return ShardHeader(text_value(header["fingerprint"]), [ShardEntry(**entry) for entry in header["entries"]])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write_shard(path: Path, header: ShardHeader, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a shard atomically."""
    metadata = {_HEADER: json.dumps({"format": FORMAT, **asdict(header)})}
    with replacing(path) as unfinished:
        save_file(dict(tensors), unfinished, metadata)


def write_index(
    folder: Path, config: JukeboxVQVAEConfig, headers: Sequence[ShardHeader], metadata: Sequence[SongMetadata]
) -> None:
    """Write index.json.

    Args:
        config: Config of the VQ-VAE.
        headers: Headers of all shards, in order.
        metadata: Current metadata of all songs, in order: labels may have changed since the codes were made.
    """
    songs, unreadable, position = [], {}, 0
    for shard, header in enumerate(headers):
        for index, entry in enumerate(header.entries):
            if entry.num_samples is None:
                unreadable[entry.name] = entry.error
            else:
                songs.append({"num_samples": entry.num_samples, "position": position, "shard": shard, "place": index})
            position += 1
    content = {
        "format": FORMAT,
        "fingerprint": headers[0].fingerprint,
        "vqvae": config.to_dict(),
        "unreadable": unreadable,
        "songs": songs,
        "metadata": [asdict(song) for song in metadata],
    }
    # ASCII escapes file names that are not valid UTF-8, so that they are read back unchanged.
    with replacing(folder / INDEX) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")
