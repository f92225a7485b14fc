"""A cache of codes: the songs of a data set, encoded a single time.

A folder of `codes-00000.safetensors`, `codes-00001.safetensors` ..., each with the codes of some songs at every level,
and index.json, which names the songs, the shard of each, and the VQ-VAE that made the codes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ...configuration_jukebox import JukeboxVQVAEConfig
from ...modeling_vqvae import JukeboxVQVAE
from .encoding import fingerprint
from .songs import SongMetadata

INDEX = "index.json"
FORMAT = 1
_HEADER = "hf_jukebox"  # the entry of a shard's metadata that holds its ShardHeader


@dataclass(frozen=True)
class CodedSong:
    """A song of a cache.

    Attributes:
        metadata: What is known about it.
        num_samples: Length of the recording, at the VQ-VAE's rate.
        position: Place among the songs of the data, readable or not.
        shard, place: Number of the file with its codes, and place in that file.
    """

    metadata: SongMetadata
    num_samples: int
    position: int
    shard: int
    place: int


@dataclass(frozen=True)
class ShardEntry:
    """A song as its shard knows it: `num_samples` is None where it could not be read, and `error` says why."""

    name: str
    num_samples: int | None
    error: str | None = None


@dataclass(frozen=True)
class ShardHeader:
    """What a shard says about itself: which VQ-VAE made it, and the songs that belong into it."""

    fingerprint: str
    entries: list[ShardEntry]

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.entries]


class CodeCache:
    """The codes of a data set, read where they are asked for. Cheap to send to a worker process.

    Attributes:
        config: Of the VQ-VAE that made the codes.
        fingerprint: Of that VQ-VAE.
        metadata: Of all songs of the data, readable or not.
        songs: Those that have codes.
        unreadable: Why the others have none, by name.

    Raises:
        FileNotFoundError: the folder holds no finished cache.
        ValueError: index.json is not ours.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        path = self.folder / INDEX
        if not path.is_file():
            raise FileNotFoundError(
                f"{self.folder} holds no finished codes ({INDEX} is missing); run examples/encode_dataset.py, which "
                "goes on where it stopped."
            )
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            if index["format"] != FORMAT:
                raise ValueError(f"format {index['format']}")
            self.fingerprint: str = index["fingerprint"]
            self.config = JukeboxVQVAEConfig(**index["vqvae"])
            self.metadata = [SongMetadata(**entry) for entry in index["metadata"]]
            self.songs = [CodedSong(self.metadata[entry["position"]], **entry) for entry in index["songs"]]
            self.unreadable: dict[str, str] = index["unreadable"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not an index of codes that this version wrote; encode the songs again."
            ) from error
        self._shards: dict[int, Any] = {}  # open files, by number

    def check(self, vqvae: JukeboxVQVAE) -> None:
        """Refuses a VQ-VAE that did not make these codes.

        Raises:
            ValueError: it did not.
        """
        check_fingerprint(self.folder, self.fingerprint, fingerprint(vqvae))

    def read(self, song: CodedSong, level: int, start: int, length: int) -> torch.Tensor:
        """The codes `start` to `start + length` of a song at a level, LongTensor `[length]`.

        Raises:
            OSError: the shard is missing or damaged.
        """
        codes = self._shard(song.shard).get_slice(tensor_name(song.place, level))[start : start + length]
        return torch.from_numpy(codes).long()

    def _shard(self, number: int) -> Any:
        if number not in self._shards:
            path = self.folder / shard_name(number)
            try:
                self._shards[number] = safe_open(path, framework="np")
            except (SafetensorError, OSError) as error:
                raise OSError(
                    f"{path} is missing or damaged; delete it and run examples/encode_dataset.py again."
                ) from error
        return self._shards[number]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_shards": {}}  # every process opens the files itself


def shard_name(number: int) -> str:
    """File of a shard."""
    return f"codes-{number:05d}.safetensors"


def tensor_name(place: int, level: int) -> str:
    """Under which a shard holds the codes of a level of its song number `place`."""
    return f"{place}.level_{level}"


def check_fingerprint(folder: Path, found: str, wanted: str) -> None:
    """Refuse codes of another VQ-VAE."""
    if found != wanted:
        raise ValueError(
            f"{folder} holds codes of another VQ-VAE (fingerprint {found[:12]}, not {wanted[:12]}); use the VQ-VAE "
            "that made them, or encode the songs into another folder."
        )


def read_header(path: Path) -> ShardHeader | None:
    """The header of a shard; None where there is no complete one of this format."""
    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
        if header["format"] != FORMAT:
            return None
        return ShardHeader(header["fingerprint"], [ShardEntry(**entry) for entry in header["entries"]])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None


def write_shard(path: Path, header: ShardHeader, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a shard; it appears when it is complete."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    metadata = {_HEADER: json.dumps({"format": FORMAT, **asdict(header)})}
    try:
        save_file(dict(tensors), unfinished, metadata)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_index(
    folder: Path, config: JukeboxVQVAEConfig, headers: Sequence[ShardHeader], metadata: Sequence[SongMetadata]
) -> None:
    """Write index.json.

    Args:
        config: Of the VQ-VAE.
        headers: Of all shards, in order.
        metadata: Of all songs, in order, as it is now: labels may have changed since the codes were made.
    """
    songs, unreadable, position = [], {}, 0
    for shard, header in enumerate(headers):
        for place, entry in enumerate(header.entries):
            if entry.num_samples is None:
                unreadable[entry.name] = entry.error
            else:
                songs.append({"num_samples": entry.num_samples, "position": position, "shard": shard, "place": place})
            position += 1
    index = {
        "format": FORMAT,
        "fingerprint": headers[0].fingerprint,
        "vqvae": config.to_dict(),
        "unreadable": unreadable,
        "songs": songs,
        "metadata": [asdict(song) for song in metadata],
    }
    # In ASCII, where a file name that is no UTF-8 is an escape like any other, and is read back as it was.
    unfinished = folder / f".{INDEX}.{os.getpid()}.tmp"
    try:
        unfinished.write_text(json.dumps(index, indent=1) + "\n", encoding="ascii")
        os.replace(unfinished, folder / INDEX)
    finally:
        unfinished.unlink(missing_ok=True)
