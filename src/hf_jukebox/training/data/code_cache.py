"""A cache of codes: the songs of a data set, encoded a single time.

A folder of `codes-00000.safetensors`, `codes-00001.safetensors` ..., each with the codes of some songs at every level,
and index.json, which names the songs, the shard of each, and the VQ-VAE that made the codes.
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
from ...files.text import read_json_object
from ...modeling_vqvae import JukeboxVQVAE
from .encoding import fingerprint
from .songs import SongMetadata

INDEX = "index.json"
FORMAT = 1
_MOST_INDEX_BYTES = 2**30  # lyrics of a million songs
_MOST_SAMPLES, _MOST_SHARDS = 2**40, 2**31
_DTYPES = ("I16", "I32")
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
            index = read_json_object(path, _MOST_INDEX_BYTES)
            if index["format"] != FORMAT:
                raise ValueError(f"format {index['format']!r}")
            self.fingerprint: str = _text(index["fingerprint"])
            self.config = JukeboxVQVAEConfig(**own_settings(index["vqvae"], JukeboxVQVAEConfig))
            self.metadata = [_metadata(entry) for entry in index["metadata"]]
            self.songs = [_song(entry, self.metadata) for entry in index["songs"]]
            self.unreadable: dict[str, str] = {_text(k): _text(v) for k, v in index["unreadable"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} is not an index of codes that this version wrote; encode the songs again."
            ) from error
        self._check_places(path)
        self._shards: dict[int, Any] = {}  # open files, by number

    def _check_places(self, path: Path) -> None:
        """Refuse songs that share codes, and songs that are longer than the files of codes."""
        for name, places in (
            ("position", [song.position for song in self.songs]),
            ("codes", [(song.shard, song.place) for song in self.songs]),
        ):
            if len(set(places)) < len(places):
                raise ValueError(f"{path} gives two songs the same {name}; encode the songs again.")
        hops = self.config.hop_lengths
        codes: Counter[int] = Counter()
        for song in self.songs:
            codes[song.shard] += sum(song.num_samples // hops[-1] * (hops[-1] // hop) for hop in hops)
        for shard, count in codes.items():
            file = self.folder / shard_name(shard)
            held = file.stat().st_size if file.is_file() else None
            if held is not None and count > held:  # a code takes two bytes or more
                raise ValueError(
                    f"{path} speaks of {count} codes in {file.name}, which has {held} bytes; encode again."
                )

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
        path, name = self.folder / shard_name(song.shard), tensor_name(song.place, level)
        try:
            stored = self._shard(song.shard).get_slice(name)
            if stored.get_dtype() not in _DTYPES or len(stored.get_shape()) != 1:
                raise ValueError(f"{stored.get_dtype()} {stored.get_shape()}")
            codes = torch.from_numpy(stored[start : start + length]).long()
            if len(codes) != length or (length and not 0 <= int(codes.min()) <= int(codes.max()) < self._size):
                raise ValueError(f"{len(codes)} of {length} codes")
        except (SafetensorError, ValueError, TypeError, IndexError) as error:
            raise OSError(
                f"{path} does not hold the codes of {song.metadata.name!r} ({error}); delete it and run "
                "examples/encode_dataset.py again."
            ) from error
        return codes

    @property
    def _size(self) -> int:
        return self.config.codebook_size

    def _shard(self, number: int) -> Any:
        if number not in self._shards:
            path = self.folder / shard_name(number)
            try:
                if not path.is_file():
                    raise FileNotFoundError(path)
                self._shards[number] = safe_open(path, framework="np")
            except (SafetensorError, OSError) as error:
                raise OSError(
                    f"{path} is missing or damaged; delete it and run examples/encode_dataset.py again."
                ) from error
        return self._shards[number]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_shards": {}}  # every process opens the files itself


def _metadata(entry: dict[str, Any]) -> SongMetadata:
    song = SongMetadata(**entry)
    for value in (song.artist, song.genre, song.lyrics):
        _text(value or "")
    _text(song.name)
    return song


def _song(entry: dict[str, Any], metadata: Sequence[SongMetadata]) -> CodedSong:
    for name, most in (("num_samples", _MOST_SAMPLES), ("shard", _MOST_SHARDS), ("place", _MOST_SHARDS)):
        _whole(entry[name], most)
    return CodedSong(metadata[_whole(entry["position"], len(metadata) - 1)], **entry)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.80} is no text")
    return value


def _whole(value: Any, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r:.80} is no whole number up to {most}")
    return value


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
        return ShardHeader(_text(header["fingerprint"]), [ShardEntry(**entry) for entry in header["entries"]])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write_shard(path: Path, header: ShardHeader, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a shard; it appears when it is complete."""
    metadata = {_HEADER: json.dumps({"format": FORMAT, **asdict(header)})}
    with replacing(path) as unfinished:
        save_file(dict(tensors), unfinished, metadata)


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
    with replacing(folder / INDEX) as unfinished:
        unfinished.write_text(json.dumps(index, indent=1) + "\n", encoding="ascii")
