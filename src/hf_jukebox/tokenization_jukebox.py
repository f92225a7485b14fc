"""Tokenizer from artist, genre, lyrics and timing of a song to the label rows of a prior, and back."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from transformers import BatchEncoding, PreTrainedTokenizer

from .configuration_jukebox import JukeboxPriorConfig
from .files.text import read_json_object, user_path
from .labels.lyrics import NO_CHARACTER, Lyrics, clean_lyrics, unread_stamp
from .labels.rows import NO_GENRE, DecodedLabels, decode_row
from .labels.songs import Samples, Song, Text, batch_of_songs, check_window_length
from .labels.vocabulary import (
    UNKNOWN_ID,
    LevelVocabulary,
    load_vocabularies,
    normalize_name,
    read_ids,
    save_vocabularies,
)
from .loading.sources import check_tokenizer_source
from .presets import ALPHABET_V2, ALPHABET_V3
from .sharing.cards import Card
from .sharing.model_cards import tokenizer_card
from .sharing.pushing import PushableMixin, take_push_options

__all__ = [
    "ALPHABET_V2",
    "ALPHABET_V3",
    "NO_GENRE",
    "DecodedLabels",
    "JukeboxTokenizer",
    "LevelVocabulary",
    "clean_lyrics",
    "normalize_name",
    "read_ids",
]

RELEASED_MODELS = ("5b", "5b_lyrics", "1b_lyrics")
_MAX_RATE = 2**20
_HUB_OPTIONS = (
    "subfolder",
    "cache_dir",
    "force_download",
    "local_files_only",
    "token",
    "revision",
    "trust_remote_code",
)


class JukeboxTokenizer(PushableMixin, PreTrainedTokenizer):
    r"""Tokenizer from artist, genre, lyrics and timing to the label rows of a hierarchy of priors.

    Every labelled level has a vocabulary of its own, because a hierarchy may mix them: in `1b_lyrics` the top level has
    v3 names and lyrics, and the levels below it v2 names. docs/conditioning.md explains the labels.

    Args:
        vocabularies: Level (0 the finest) to its [`LevelVocabulary`], for the levels with labels.
        sampling_rate: Samples per second of the model; used to find the window of lyrics with times.
        artists_file, genres_file, lyrics_file: Files of the vocabularies, as given by `from_pretrained`.

    Raises:
        ValueError: a file is missing, or was not written by `save_pretrained`.
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
        """Load a tokenizer that `save_pretrained` wrote: three tables, the sampling rate and notes of plain values.

        Raises:
            OSError: there is no such folder or repository.
            ValueError: a table is missing, or was not written by `save_pretrained`.
        """
        source = check_tokenizer_source(pretrained_model_name_or_path, kwargs)
        folder = Path(source) / (kwargs.get("subfolder") or "")
        if not folder.is_dir():
            return super().from_pretrained(source, *args, **kwargs)
        config = folder / "tokenizer_config.json"
        settings = read_json_object(config) if config.exists() else {}
        rate = settings.pop("sampling_rate", 44100)
        if type(rate) is not int or not 0 < rate <= _MAX_RATE:
            raise ValueError(f"{config}: sampling_rate must be a whole number of Hz, not {repr(rate)[:80]}.")
        # Some settings make transformers load other files and classes; notes of plain values are only kept.
        notes = {name: value for name, value in settings.items() if _is_note(name, value)}
        files: dict[str, Any] = {argument: str(folder / name) for argument, name in cls.vocab_files_names.items()}
        for name in _HUB_OPTIONS:
            kwargs.pop(name, None)
        return cls(**notes | {"sampling_rate": rate, "name_or_path": str(folder)} | files | kwargs)

    @classmethod
    def from_ids(cls, folder: str | os.PathLike[str], preset: str, **kwargs: Any) -> Self:
        """Build the tokenizer of a released model from the published tables.

        Args:
            folder: Folder with v2_artist_ids.txt and v2_genre_ids.txt and, for `"1b_lyrics"`, v3_artist_ids.txt and
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
        """Return the label rows of one window per song.

        All but `level` and `window_length` may be one value for all songs or a list with one per song; the number of
        rows is the length of the longest list. A name that the level lacks is treated as unknown, with one warning that
        lists the closest names; an empty name or `None` is unknown without a warning.

        Args:
            level: Level of the prior, 0 the finest.
            total_length: Length of the song, in raw samples.
            window_length: Length of the window, in raw samples: `n_ctx * hop_length` of the prior.
            offset: Start of the window in the song, in raw samples.
            artist, genre: Names.
            lyrics: Lyrics of the whole song, plain or as LRC text with times.
            allow_beyond: Accept a window that ends after its song, for songs shorter than a window.

        Returns:
            `labels`, a LongTensor `[B, label_length]` with the columns of [`~layers.conditioning.LabelColumns`]: total
            length, offset, window length, artist id, genre ids (-1 for an empty slot), lyric tokens (0 for padding).

        Raises:
            ValueError: lists of different lengths, a level without labels, a length that is not a whole number, or a
                window that is not within its song.
        """
        vocabulary = self._vocabulary(level)
        songs = batch_of_songs(artist=artist, genre=genre, lyrics=lyrics, total_length=total_length, offset=offset)
        window_length = check_window_length(window_length, songs, allow_beyond)
        uses_lyrics = any(each.n_lyrics for each in self.vocabularies.values())
        if not uses_lyrics and any(song.lyrics for song in songs) and self._is_first("lyrics", ""):
            warnings.warn("This model does not use lyrics; ignoring the lyrics given.", UserWarning, stacklevel=2)
        columns = vocabulary.label_columns
        rows = []
        for song in songs:
            row = [0] * columns.length
            row[columns.timing] = [song.total_length, song.offset, window_length]
            row[columns.artist] = self._artist_id(song.artist, level)
            row[columns.genres] = self._genre_ids(song.genre, level)
            text, indices = self._lyric_window(song, level, window_length)
            row[columns.lyrics] = [
                0 if index == NO_CHARACTER else vocabulary.character_ids[text[index]] for index in indices
            ]
            rows.append(row)
        return BatchEncoding({"labels": torch.tensor(rows, dtype=torch.long, device="cpu")})

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
        """Return the index of the character in each lyric slot of the rows that the same arguments give.

        Returns:
            LongTensor `[B, n_lyrics]` of indices into `clean_lyrics(lyrics, level=level)`; -1 is padding.

        Raises:
            ValueError: as in `__call__`.
        """
        songs = batch_of_songs(artist=artist, genre=genre, lyrics=lyrics, total_length=total_length, offset=offset)
        window_length = check_window_length(window_length, songs, allow_beyond)
        windows = [self._lyric_window(song, level, window_length)[1] for song in songs]
        return torch.tensor(windows, dtype=torch.long, device="cpu")

    def clean_lyrics(self, lyrics: str, *, level: int) -> str:
        """Return the lyrics in the alphabet of a level, without time stamps."""
        return Lyrics.parse(lyrics, self._vocabulary(level).alphabet).text

    def decode(  # type: ignore[override]
        self, labels: Sequence[int] | torch.Tensor, *, level: int
    ) -> DecodedLabels:
        """Return the words of one label row `[label_length]` of a level.

        Raises:
            ValueError: the row has another length.
        """
        vocabulary = self._vocabulary(level)
        row = [int(value) for value in labels]
        if len(row) != vocabulary.label_length:
            raise ValueError(f"A label row of level {level} has {vocabulary.label_length} numbers, not {len(row)}.")
        return decode_row(row, vocabulary)

    def batch_decode(  # type: ignore[override]
        self, labels: Sequence[Sequence[int]] | torch.Tensor, *, level: int
    ) -> list[DecodedLabels]:
        """Return the words of label rows `[B, label_length]` of a level."""
        return [self.decode(row, level=level) for row in labels]

    def artists(self, level: int) -> list[str]:
        """Return the artists of a level, sorted."""
        return sorted(filter(None, self._vocabulary(level).artists))

    def genres(self, level: int) -> list[str]:
        """Return the genres of a level, sorted; with v2 rules, the words of genres."""
        return sorted(filter(None, self._vocabulary(level).genres))

    def _vocabulary(self, level: int) -> LevelVocabulary:
        if level not in self.vocabularies:
            labelled = ", ".join(map(str, self.vocabularies)) or "none"
            raise ValueError(f"Level {level} has no labels; the labelled levels of this model: {labelled}.")
        return self.vocabularies[level]

    def _lyric_window(self, song: Song, level: int, window_length: int) -> tuple[str, list[int]]:
        """Return the cleaned lyrics, and the index of the character in each lyric slot."""
        vocabulary = self._vocabulary(level)
        if not vocabulary.n_lyrics:
            return "", []
        lyrics = Lyrics.parse(song.lyrics, vocabulary.alphabet)
        if not lyrics.line_times and (stamp := unread_stamp(song.lyrics)) and self._is_first("times", song.lyrics):
            warnings.warn(
                f"These lyrics are read as text without times, including {stamp!r}; begin each line with a time such "
                "as [01:23.45], or remove the brackets.",
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
        return self._id_or_unknown("artist", artist, artist, index, vocabulary.artist_ids, level)

    def _genre_ids(self, genre: str, level: int) -> list[int]:
        """Return one id per genre slot; with v2 rules every word of the genre takes a slot."""
        vocabulary = self._vocabulary(level)
        words = normalize_name(genre, "v2").split("_") if vocabulary.rules == "v2" else [genre]
        kept, dropped = words[: vocabulary.genre_words], words[vocabulary.genre_words :]
        if dropped and self._is_first("genre words", genre):
            warnings.warn(
                f"Level {level} uses {len(kept)} words per genre; ignoring {', '.join(dropped)!r} of {genre!r}.",
                UserWarning,
                stacklevel=3,
            )
        ids = [NO_GENRE] * vocabulary.genre_words
        for slot, word in enumerate(kept):
            index = vocabulary.genre_id(word)
            ids[slot] = self._id_or_unknown("genre", word or genre, word, index, vocabulary.genre_ids, level)
        return ids

    def _id_or_unknown(
        self, kind: str, given: str, name: str, index: int | None, ids: dict[str, int], level: int
    ) -> int:
        """Return `index`, or the id of unknown names if it is None, warning unless that is on purpose."""
        written = normalize_name(name, self._vocabulary(level).rules)
        if index is not None and (written or index != UNKNOWN_ID):
            return index
        if normalize_name(given, "v3") and written != "unknown" and self._is_first(kind, given):
            closest = difflib.get_close_matches(written, ids, n=3)
            hint = f"the closest names are {', '.join(map(repr, closest))}" if closest else "no name is close to it"
            if not written:
                hint = "names are written in a-z and 0-9, and this one has none of these"
            warnings.warn(
                f"Level {level} has no {kind} {given!r} and treats it as unknown; {hint}.",
                UserWarning,
                stacklevel=4,
            )
        return UNKNOWN_ID

    def _is_first(self, kind: str, given: str) -> bool:
        """Return whether this tokenizer warns about `given` for the first time."""
        is_first = (kind, given) not in self._warned
        self._warned.add((kind, given))
        return is_first

    # Methods that PreTrainedTokenizer requires of its subclasses.

    @property
    def vocab_size(self) -> int:
        return len(self.get_vocab())

    def get_vocab(self) -> dict[str, int]:
        """Return character to id for the lyrics of the topmost labelled level; names have tables of their own."""
        return dict(self.vocabularies[max(self.vocabularies)].character_ids) if self.vocabularies else {}

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> tuple[str, ...]:
        """Save the files of the tokenizer; see `PreTrainedTokenizer.save_pretrained`."""
        upload = take_push_options(kwargs)
        folder = user_path(save_directory)
        written: tuple[str, ...] = super().save_pretrained(folder, *args, **kwargs)
        if upload is not None:
            self.push_saved(folder, upload)
        return written

    def hub_card(self, repo_id: str) -> Card:
        """Return the card for a repository."""
        return tokenizer_card(repo_id)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write artists.json, genres.json and lyrics.json, and return their paths."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        paths = [Path(save_directory) / (prefix + name) for name in self.vocab_files_names.values()]
        save_vocabularies(self.vocabularies, paths)
        return tuple(map(str, paths))


def _is_note(name: str, value: object) -> bool:
    special = name.endswith("_token") or name in ("backend", "tokenizer_class", "name_or_path", "vocabularies")
    return isinstance(value, str | int | float) and not special and not hasattr(JukeboxTokenizer, name)
