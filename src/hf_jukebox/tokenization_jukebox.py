"""Artist, genre, lyrics and timing of a song as the label rows that a prior reads, and back."""

from __future__ import annotations

import difflib
import operator
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from transformers import BatchEncoding, PreTrainedTokenizer

from .configuration_jukebox import JukeboxPriorConfig
from .files.text import read_json_object
from .labels.lyrics import NO_CHARACTER, Lyrics, clean_lyrics, unread_stamp
from .labels.vocabulary import (
    UNKNOWN_ID,
    LevelVocabulary,
    load_vocabularies,
    names_of,
    normalize_name,
    read_ids,
    save_vocabularies,
)
from .presets import ALPHABET_V2, ALPHABET_V3

__all__ = [
    "ALPHABET_V2",
    "ALPHABET_V3",
    "DecodedLabels",
    "JukeboxTokenizer",
    "LevelVocabulary",
    "clean_lyrics",
    "normalize_name",
    "read_ids",
]

RELEASED_MODELS = ("5b", "5b_lyrics", "1b_lyrics")
NO_GENRE = -1
_MOST_RATE = 2**20
_OF_THE_HUB = ("subfolder", "cache_dir", "force_download", "local_files_only", "token", "revision", "trust_remote_code")

Text = str | None | Sequence[str | None]
Samples = int | Sequence[int]


@dataclass(frozen=True)
class DecodedLabels:
    """A label row in words; lengths in raw samples.

    Names that share an id, and the words of a v2 genre, are joined by `_`. Lyrics are those of the window.
    """

    artist: str
    genre: str
    lyrics: str
    total_length: int
    offset: int
    window_length: int


class _Song(NamedTuple):
    artist: str
    genre: str
    lyrics: str
    total_length: int
    offset: int


class JukeboxTokenizer(PreTrainedTokenizer):
    r"""Turns artist, genre, lyrics and timing into the label rows of a system of priors.

    Every labelled level has a vocabulary of its own, because a system may mix them: `1b_lyrics` reads v3 names and
    lyrics on top, and v2 names below. docs/conditioning.md tells what the labels do.

    Args:
        vocabularies: Level (0 the finest) to its [`LevelVocabulary`]; levels without labels are left out.
        sampling_rate: Samples a second of the model, by which lyrics with times are cut to a window.
        artists_file, genres_file, lyrics_file: Where `from_pretrained` reads the vocabularies from.

    Raises:
        ValueError: a file is missing, or is not one that `save_pretrained` wrote.
    """

    vocab_files_names = {
        "artists_file": "artists.json",
        "genres_file": "genres.json",
        "lyrics_file": "lyrics.json",
    }
    model_input_names = ["labels"]

    def __init__(
        self,
        vocabularies: dict[int, LevelVocabulary] | None = None,
        *,
        sampling_rate: int = 44100,
        artists_file: str | None = None,
        genres_file: str | None = None,
        lyrics_file: str | None = None,
        **kwargs: Any,
    ) -> None:
        if vocabularies is None:
            vocabularies = load_vocabularies([artists_file, genres_file, lyrics_file])
        self.vocabularies = dict(sorted(vocabularies.items()))
        self.sampling_rate = sampling_rate
        self._warned: set[tuple[str, str]] = set()
        super().__init__(sampling_rate=sampling_rate, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Self:
        """Load what `save_pretrained` wrote: the three tables, the sampling rate and notes of plain values.

        Raises:
            OSError: there is no such folder or repository.
            ValueError: a file is missing, or is not one that `save_pretrained` wrote.
        """
        folder = Path(pretrained_model_name_or_path) / (kwargs.get("subfolder") or "")
        if not folder.is_dir():
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        config = folder / "tokenizer_config.json"
        settings = read_json_object(config) if config.exists() else {}
        rate = settings.pop("sampling_rate", 44100)
        if type(rate) is not int or not 0 < rate <= _MOST_RATE:
            raise ValueError(f"{config}: sampling_rate must be a number of samples a second, not {repr(rate)[:80]}.")
        # transformers follows some settings to other files and classes; notes of plain values it only keeps.
        notes = {name: value for name, value in settings.items() if _is_note(name, value)}
        files: dict[str, Any] = {argument: str(folder / name) for argument, name in cls.vocab_files_names.items()}
        for name in _OF_THE_HUB:
            kwargs.pop(name, None)
        return cls(**notes | {"sampling_rate": rate, "name_or_path": str(folder)} | files | kwargs)

    @classmethod
    def from_ids(cls, folder: str | os.PathLike[str], preset: str, **kwargs: Any) -> Self:
        """The tokenizer of a released model, from the published tables.

        Args:
            folder: Where v2_artist_ids.txt and v2_genre_ids.txt lie and, for `"1b_lyrics"`, v3_artist_ids.txt and
                v3_genre_ids.txt.
            preset: `"5b"`, `"5b_lyrics"` or `"1b_lyrics"`.

        Raises:
            FileNotFoundError: a table is missing.
            ValueError: there is no such model, or a line of a table is malformed.
        """
        if preset not in RELEASED_MODELS:
            raise ValueError(f"There is no released model {preset!r}; choose one of {', '.join(RELEASED_MODELS)}.")
        vocabularies = {}
        for name in ("upsampler_level_0", "upsampler_level_1", f"prior_{preset}"):
            config = JukeboxPriorConfig.from_preset(name)
            config.artists = read_ids(Path(folder) / f"{config.label_rules}_artist_ids.txt")
            config.genres = read_ids(Path(folder) / f"{config.label_rules}_genre_ids.txt")
            vocabularies[config.level] = LevelVocabulary.from_config(config)
        return cls(vocabularies, **kwargs)

    def __call__(
        self,
        *,
        level: int,
        total_length: Samples,
        window_length: int,
        offset: Samples = 0,
        artist: Text = None,
        genre: Text = None,
        lyrics: Text = None,
        allow_beyond: bool = False,
    ) -> BatchEncoding:
        """The label rows of one window a song.

        All but `level` and `window_length` may be one value for all songs or a list with one a song; there are as many
        rows as the longest list is long. A name that the level does not know counts as unknown, with one warning that
        lists the closest known names; an empty name or `None` is unknown without a warning.

        Args:
            level: The level whose prior reads the labels, 0 the finest.
            total_length: Length of the song, in raw samples.
            window_length: Length of the window, in raw samples: `n_ctx * hop_length` of the prior.
            offset: Where the window begins in the song, in raw samples.
            artist, genre: Names.
            lyrics: Those of the whole song, plain or as LRC text with times.
            allow_beyond: Accept a window that ends after its song, as that of a piece shorter than a window does.

        Returns:
            `labels`, a LongTensor [B, 4 + genre_words + n_lyrics]: total length, offset, window length, artist id,
            genre ids (-1 for an empty slot), lyric tokens (0 for padding).

        Raises:
            ValueError: lists of different lengths, a level without labels, a length that is no number of samples, or a
                window that is not within its song.
        """
        vocabulary = self._vocabulary(level)
        songs = _songs(artist=artist, genre=genre, lyrics=lyrics, total_length=total_length, offset=offset)
        window_length = _checked_window(window_length, songs, allow_beyond)
        reads_lyrics = any(each.n_lyrics for each in self.vocabularies.values())
        if not reads_lyrics and any(song.lyrics for song in songs) and self._is_first("lyrics", ""):
            warnings.warn("This model reads no lyrics; those given are ignored.", UserWarning, stacklevel=2)
        rows = []
        for song in songs:
            artist_id = self._artist_id(song.artist, level)
            genre_ids = self._genre_ids(song.genre, level)
            text, indices = self._lyric_window(song, level, window_length)
            tokens = [0 if index == NO_CHARACTER else vocabulary.character_ids[text[index]] for index in indices]
            rows.append([song.total_length, song.offset, window_length, artist_id, *genre_ids, *tokens])
        return BatchEncoding({"labels": torch.tensor(rows, dtype=torch.long)})

    def lyric_indices(
        self,
        *,
        level: int,
        total_length: Samples,
        window_length: int,
        offset: Samples = 0,
        artist: Text = None,
        genre: Text = None,
        lyrics: Text = None,
        allow_beyond: bool = False,
    ) -> torch.Tensor:
        """Which character stands in every lyric slot of the rows that the same arguments give.

        Returns:
            LongTensor [B, n_lyrics] of indices into `clean_lyrics(lyrics, level=level)`; -1 is padding.

        Raises:
            ValueError: as in `__call__`.
        """
        songs = _songs(artist=artist, genre=genre, lyrics=lyrics, total_length=total_length, offset=offset)
        window_length = _checked_window(window_length, songs, allow_beyond)
        windows = [self._lyric_window(song, level, window_length)[1] for song in songs]
        return torch.tensor(windows, dtype=torch.long)

    def clean_lyrics(self, lyrics: str, *, level: int) -> str:
        """The lyrics as the prior of `level` reads them: in its alphabet, without time stamps."""
        return Lyrics.parse(lyrics, self._vocabulary(level).alphabet).text

    def decode(  # type: ignore[override]
        self, labels: Sequence[int] | torch.Tensor, *, level: int
    ) -> DecodedLabels:
        """One label row [4 + genre_words + n_lyrics] of a level, back in words.

        Raises:
            ValueError: the row is not as long as the level's rows are.
        """
        vocabulary = self._vocabulary(level)
        row = [int(value) for value in labels]
        if len(row) != vocabulary.label_length:
            raise ValueError(f"A label row of level {level} holds {vocabulary.label_length} numbers, not {len(row)}.")
        total_length, offset, window_length, artist = row[:4]
        genres = row[4 : 4 + vocabulary.genre_words]
        tokens = row[4 + vocabulary.genre_words :]
        return DecodedLabels(
            artist=names_of(artist, vocabulary.artists),
            genre="_".join(names_of(genre, vocabulary.genres) for genre in genres if genre != NO_GENRE),
            lyrics="".join(vocabulary.alphabet[token - 1] for token in tokens if token > 0),
            total_length=total_length,
            offset=offset,
            window_length=window_length,
        )

    def batch_decode(  # type: ignore[override]
        self, labels: Sequence[Sequence[int]] | torch.Tensor, *, level: int
    ) -> list[DecodedLabels]:
        """Label rows [B, 4 + genre_words + n_lyrics] of a level, back in words."""
        return [self.decode(row, level=level) for row in labels]

    def artists(self, level: int) -> list[str]:
        """The artists that the prior of `level` knows, sorted."""
        return sorted(filter(None, self._vocabulary(level).artists))

    def genres(self, level: int) -> list[str]:
        """The genres that the prior of `level` knows, sorted; with v2 rules, the words genres are made of."""
        return sorted(filter(None, self._vocabulary(level).genres))

    def _vocabulary(self, level: int) -> LevelVocabulary:
        if level not in self.vocabularies:
            labelled = ", ".join(map(str, self.vocabularies)) or "none"
            raise ValueError(f"Level {level} has no labels; the labelled levels of this model: {labelled}.")
        return self.vocabularies[level]

    def _lyric_window(self, song: _Song, level: int, window_length: int) -> tuple[str, list[int]]:
        """The cleaned lyrics, and the index of the character in each lyric slot."""
        vocabulary = self._vocabulary(level)
        if not vocabulary.n_lyrics:
            return "", []
        lyrics = Lyrics.parse(song.lyrics, vocabulary.alphabet)
        if not lyrics.line_times and (stamp := unread_stamp(song.lyrics)) and self._is_first("times", song.lyrics):
            warnings.warn(
                f"These lyrics are read as text without times, {stamp!r} included; begin each line by a time such as "
                "[01:23.45], or take the brackets out.",
                UserWarning,
                stacklevel=3,
            )
        indices = lyrics.window(
            vocabulary.n_lyrics,
            total_length=song.total_length,
            offset=song.offset,
            window_length=window_length,
            sampling_rate=self.sampling_rate,
        )
        return lyrics.text, indices

    def _artist_id(self, artist: str, level: int) -> int:
        vocabulary = self._vocabulary(level)
        index = vocabulary.artist_id(artist)
        return self._known_id("artist", artist, artist, index, vocabulary.artist_ids, level)

    def _genre_ids(self, genre: str, level: int) -> list[int]:
        """One id a genre slot; with v2 rules every word of the genre takes a slot."""
        vocabulary = self._vocabulary(level)
        words = normalize_name(genre, "v2").split("_") if vocabulary.rules == "v2" else [genre]
        kept, dropped = words[: vocabulary.genre_words], words[vocabulary.genre_words :]
        if dropped and self._is_first("genre words", genre):
            warnings.warn(
                f"Level {level} reads {len(kept)} words of a genre: {genre!r} is read without {', '.join(dropped)!r}.",
                UserWarning,
                stacklevel=3,
            )
        ids = [NO_GENRE] * vocabulary.genre_words
        for slot, word in enumerate(kept):
            index = vocabulary.genre_id(word)
            ids[slot] = self._known_id("genre", word or genre, word, index, vocabulary.genre_ids, level)
        return ids

    def _known_id(self, kind: str, given: str, name: str, index: int | None, ids: dict[str, int], level: int) -> int:
        """The id that a table has of a name, else that of unknown, with a warning unless it is unknown on purpose."""
        written = normalize_name(name, self._vocabulary(level).rules)
        if index is not None and (written or index != UNKNOWN_ID):
            return index
        if normalize_name(given, "v3") and written != "unknown" and self._is_first(kind, given):
            closest = difflib.get_close_matches(written, ids, n=3)
            hint = f"the closest are {', '.join(map(repr, closest))}" if closest else "no known name is close"
            if not written:
                hint = "its names are written in a-z and 0-9, of which this one has none"
            warnings.warn(
                f"Level {level} does not know the {kind} {given!r} and takes it for unknown; {hint}.",
                UserWarning,
                stacklevel=4,
            )
        return UNKNOWN_ID

    def _is_first(self, kind: str, given: str) -> bool:
        """Whether this is the first time that this tokenizer warns of `given`."""
        is_first = (kind, given) not in self._warned
        self._warned.add((kind, given))
        return is_first

    # What PreTrainedTokenizer asks of its subclasses.

    @property
    def vocab_size(self) -> int:
        return len(self.get_vocab())

    def get_vocab(self) -> dict[str, int]:
        """Character to id in the lyrics of the topmost labelled level; names have tables of their own."""
        return dict(self.vocabularies[max(self.vocabularies)].character_ids) if self.vocabularies else {}

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Writes artists.json, genres.json and lyrics.json, and returns their paths."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        paths = [Path(save_directory) / (prefix + name) for name in self.vocab_files_names.values()]
        save_vocabularies(self.vocabularies, paths)
        return tuple(map(str, paths))


def _is_note(name: str, value: object) -> bool:
    special = name.endswith("_token") or name in ("backend", "tokenizer_class", "name_or_path", "vocabularies")
    return isinstance(value, str | int | float) and not special and not hasattr(JukeboxTokenizer, name)


def _songs(*, artist: Text, genre: Text, lyrics: Text, total_length: Samples, offset: Samples) -> list[_Song]:
    """One entry a song: single values are for every song of the batch."""
    given = {"artist": artist, "genre": genre, "lyrics": lyrics, "total_length": total_length, "offset": offset}
    columns = {name: list(value) if isinstance(value, list | tuple) else [value] for name, value in given.items()}
    count = max(map(len, columns.values()))
    for name, column in columns.items():
        if len(column) not in (1, count):
            raise ValueError(f"{name} lists {len(column)} values for {count} songs; give one for all, or one a song.")
        column *= count // len(column)
        columns[name] = [_samples(name, x) if name in ("total_length", "offset") else _text(name, x) for x in column]
    if min(columns["total_length"]) <= 0:
        raise ValueError(f"total_length must be above 0 samples, not {min(columns['total_length'])}.")
    if min(columns["offset"]) < 0:
        raise ValueError(f"offset must be at least 0 samples, not {min(columns['offset'])}.")
    return [_Song(*values) for values in zip(*columns.values(), strict=True)]


def _checked_window(window_length: Any, songs: list[_Song], allow_beyond: bool) -> int:
    """The length of the windows, which have to lie within their songs."""
    length = _samples("window_length", window_length)
    if length <= 0:
        raise ValueError(f"window_length must be above 0 samples, not {length}.")
    for song in songs:
        if song.offset + length > song.total_length and not allow_beyond:
            raise ValueError(
                f"A window of {length} samples from sample {song.offset} on ends after its song of "
                f"{song.total_length}; total_length and offset are in samples: seconds times the sampling rate."
            )
    return length


def _text(name: str, value: Any) -> str:
    if not (value is None or isinstance(value, str)):
        raise ValueError(f"{name} must be text or None, not {value!r}.")
    return value or ""


def _samples(name: str, value: Any) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number of samples, not {value!r}.") from None
    if abs(count) >= 2**62:  # a label row is of int64, and has to hold sums of two
        raise ValueError(f"{name} is too large to be a number of samples.")
    return count
