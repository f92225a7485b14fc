"""The arguments of a call, as a user gives them, and the request that they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..audio.prompts import Prompt
from ..files.text import listed
from ..hierarchy import Hierarchy
from .known import KnownCodes
from .request import (
    DEFAULT_TEMPERATURE,
    SamplingRequest,
    Seeds,
    check_size,
    check_upsampling,
    levels_to_sample,
    make_songs,
    sampling_settings,
    song_keys,
    song_span,
    window_hops,
)
from .values import PerLevel, PerSong, at_least_one, count_songs, is_list, per_song, texts_per_song


@dataclass(frozen=True)
class Arguments:
    """What a user may say about the songs and about drawing them; see `JukeboxPipeline.__call__`.

    Args:
        kept_lengths: Top-level codes that are kept of each song, where a batch is drawn to the length of its longest.
    """

    artist: PerSong[str | None] = None
    genre: PerSong[str | None] = None
    lyrics: PerSong[str | None] = None
    total_length_in_s: PerSong[float | None] = None
    offset_in_s: PerSong[float] = 0.0
    num_waveforms_per_prompt: int = 1
    temperature: PerLevel[float] = DEFAULT_TEMPERATURE
    top_k: PerLevel[int] = 0
    top_p: PerLevel[float] = 0.0
    hop_fraction: PerLevel[float] | None = None
    levels: int | Sequence[int] | None = None
    generator: Seeds = None
    max_batch_size: int | None = None
    upsampling: str = "sequential"
    kept_lengths: Sequence[int] | None = None

    def request(
        self, hierarchy: Hierarchy, length: int, prompts: Sequence[Prompt] | None, known: Sequence[KnownCodes] | None
    ) -> SamplingRequest:
        """Decide everything for a piece of `length` top-level codes.

        Args:
            prompts: One a song, if there are any.
            known: Codes of an earlier run, one entry a level, if there are any.

        Raises:
            ValueError: an argument is out of range, or their numbers of songs or levels do not agree.
        """
        num_prompts = count_songs(
            audio=prompts,
            codes=None if known is None else known[0].lengths,
            artist=self.artist,
            genre=self.genre,
            lyrics=self.lyrics,
            total_length_in_s=self.total_length_in_s,
            offset_in_s=self.offset_in_s,
        )
        num_songs = num_prompts * at_least_one("num_waveforms_per_prompt", self.num_waveforms_per_prompt)
        check_size(hierarchy, num_songs, length)
        levels = levels_to_sample(hierarchy, self.levels)
        totals = per_song("total_length_in_s", self.total_length_in_s, num_prompts)
        offsets = per_song("offset_in_s", self.offset_in_s, num_prompts)
        kept = [length] * num_prompts if self.kept_lengths is None else self.kept_lengths
        spans = [
            song_span(hierarchy, length, total, offset, levels, own)
            for total, offset, own in zip(totals, offsets, kept, strict=True)
        ]
        names: list[str | None] = [None] * num_prompts
        if prompts is not None:
            names = per_song("audio", [each.name for each in prompts], num_prompts)
        return SamplingRequest(
            songs=make_songs(
                texts_per_song("artist", self.artist, num_prompts),
                texts_per_song("genre", self.genre, num_prompts),
                texts_per_song("lyrics", self.lyrics, num_prompts),
                spans,
                song_keys(self.generator, num_songs),
                names,
            ),
            top_codes=length,
            levels=levels,
            hops=window_hops(hierarchy, self.hop_fraction),
            settings=sampling_settings(self.temperature, self.top_k, self.top_p, hierarchy.num_levels),
            max_batch_size=None if self.max_batch_size is None else at_least_one("max_batch_size", self.max_batch_size),
            upsampling=check_upsampling(self.upsampling),
        )


def label_remark(
    hierarchy: Hierarchy,
    levels: Sequence[int],
    *,
    artist: PerSong[str | None] = None,
    genre: PerSong[str | None] = None,
    lyrics: PerSong[str | None] = None,
) -> str | None:
    """Say in a sentence which of the given labels the levels to draw cannot use; None where all can.

    Of lyrics that no labelled prior reads the tokenizer itself warns.
    """
    given = {"artist": artist, "genre": genre, "lyrics": lyrics}
    names = [name for name, value in given.items() if any(value if is_list(value) else [value])]  # type: ignore[arg-type]
    priors = [prior for level in levels if (prior := hierarchy.priors[level]) is not None]
    labelled = [prior.level for prior in priors if prior.has_labels]
    if names and not labelled:
        verb = "is" if names in (["artist"], ["genre"]) else "are"
        return f"{listed(names)} {verb} ignored: no prior that is sampled from has labels."
    remarks = []
    by_name = [name for name in names if name != "lyrics"]
    if by_name and len(labelled) < len(priors):
        others = [str(prior.level) for prior in priors if not prior.has_labels]
        which = "level" if len(others) == 1 else "levels"
        remarks.append(f"{listed(by_name)} cannot be used at {which} {listed(others)}, for want of labels there")
    is_read = any(prior is not None and prior.n_lyrics for prior in hierarchy.priors)
    if "lyrics" in names and is_read and not any(prior.n_lyrics for prior in priors):
        remarks.append("lyrics are ignored, as no prior that is sampled from reads them")
    return f"{'; '.join(remarks)}." if remarks else None
