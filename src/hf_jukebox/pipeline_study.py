"""Methods of the pipeline that study recordings by their likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from .audio.prompts import Audio
from .modeling_prior import JukeboxPrior
from .pipeline_embedding import JukeboxEmbedder, check_one_input
from .pipeline_parts import sampling
from .sampling.known import as_codes
from .sampling.request import SongConditioning, levels_to_sample, song_timing, window_hops
from .sampling.single_prior import rate_codes, score_codes
from .sampling.window_labels import covered_length, labels_of_windows
from .study.coded_songs import CodedSong, encode_songs, levels_with_codes, songs_of_codes
from .study.recordings import open_recordings
from .study.scoring import JukeboxScore, LabelPosterior, LevelScore, labels_to_compare


class JukeboxStudy(JukeboxEmbedder):
    """The part of [`JukeboxPipeline`] that studies recordings."""

    @sampling
    def score(
        self,
        audio: Audio | None = None,
        *,
        artist: str | None = None,
        genre: str | None = None,
        lyrics: str | None = None,
        total_length_in_s: float | None = None,
        offset_in_s: float = 0.0,
        levels: int | Sequence[int] | None = None,
        hop_fraction: float = 0.5,
        codes: Sequence[torch.Tensor | None] | None = None,
        sampling_rate: int | None = None,
    ) -> list[JukeboxScore]:
        """Score recordings: the bits that each of their codes costs, at each level.

        The likelihood is exact for the codes, given their windows: a code is scored in the first window that holds it,
        given the codes before it there, and at the levels below the top given the codes above. So the bits of all codes
        add up to those of the recording, and in one window their mean is the loss of the prior.

        Args:
            audio: Recordings, in all forms that `__call__` takes. Files are read in blocks.
            artist, genre, lyrics: Labels of all recordings; unknown by default.
            total_length_in_s, offset_in_s: Length of the song that a recording is a part of, and its start there; by
                default it is a whole song.
            levels: Levels to score; by default all that have a prior, and with `codes` those that it has codes of.
            hop_fraction: Codes from the start of one window to that of the next, as a share of a window. At 0.5 every
                code but those of the first window has at least half a window before it; 1 is twice as fast.
            codes: Codes instead of audio, as `out.codes` of a run.
            sampling_rate: Rate of samples that come without one.

        Returns:
            One [`JukeboxScore`] per recording.

        Raises:
            ValueError, OSError: the input is wrong; the message says what to change.
        """
        wanted = self._levels_to_score(levels, codes)
        hops = window_hops(self.hierarchy, hop_fraction)
        found = []
        for song in self._songs(audio, codes, sampling_rate, wanted):
            timing = self._timing(song, total_length_in_s, offset_in_s, wanted)
            found.append((song, SongConditioning(artist, genre, lyrics, *timing, (0, 0))))
        by_level: list[dict[int, LevelScore]] = [{} for _ in found]
        for level in wanted:
            prior = self.priors[level]
            assert prior is not None
            self.load_part(prior)
            rate = prior.config.codes_per_second
            for row, (song, conditioning) in enumerate(found):
                scores = rate_codes(prior, **self._scored(prior, song, conditioning), hop=hops[level])
                bits, ranks, entropy = (each[0].cpu().numpy() for each in (scores.bits, scores.ranks, scores.entropy))
                by_level[row][level] = LevelScore(bits, ranks.astype("int32"), entropy, rate)
        self.unload_parts()
        seconds = self.hierarchy.top_hop / self.sampling_rate
        return [
            JukeboxScore(song.name, song.top_codes * seconds, dict(sorted(scores.items())))
            for (song, _), scores in zip(found, by_level, strict=True)
        ]

    @sampling
    def compare_labels(
        self,
        audio: Audio | None = None,
        compare: Literal["artist", "genre"] = "genre",
        names: Sequence[str] | None = None,
        *,
        artist: str | None = None,
        genre: str | None = None,
        lyrics: str | None = None,
        total_length_in_s: float | None = None,
        offset_in_s: float = 0.0,
        levels: int | Sequence[int] | None = None,
        hop_fraction: float = 0.5,
        codes: Sequence[torch.Tensor | None] | None = None,
        sampling_rate: int | None = None,
    ) -> list[LabelPosterior]:
        """Compare artists or genres by the likelihood of recordings under each: whose music is this second like?

        The codes are scored once per label. Labels that make the same second cheaper are likelier, by Bayes' rule with
        all labels equally likely before.

        Args:
            compare: `"artist"` or `"genre"`.
            names: Labels to compare; by default all that the priors were trained with, if they are at most 64.
            artist, genre, lyrics: Labels that stay the same; unknown by default.
            levels: Levels whose likelihood is compared; the top one by default. That of several is their product.

        The other arguments are those of `score`.

        Returns:
            One [`LabelPosterior`] per recording.

        Raises:
            ValueError, OSError: the input is wrong; the message says what to change.
        """
        wanted = self._levels_to_score([self.top_prior().config.level] if levels is None else levels, codes)
        priors = [prior for level in wanted if (prior := self.priors[level]) is not None]
        vocabularies = {
            prior.config.level: self.window_labels(prior).tokenizer.vocabularies[prior.config.level]
            for prior in priors
            if prior.config.has_labels
        }
        labels = labels_to_compare(vocabularies, compare, names)
        hops = window_hops(self.hierarchy, hop_fraction)
        songs = self._songs(audio, codes, sampling_rate, wanted)
        highest = priors[0].config.hop_length
        totals: list[list[Any]] = [[0.0] * len(labels) for _ in songs]
        for prior in priors:
            self.load_part(prior)
            for row, song in enumerate(songs):
                timing = self._timing(song, total_length_in_s, offset_in_s, wanted)
                for column, label in enumerate(labels):
                    given = {"artist": artist, "genre": genre} | {compare: label}
                    conditioning = SongConditioning(given["artist"], given["genre"], lyrics, *timing, (0, 0))
                    inputs = self._scored(prior, song, conditioning)
                    bits = score_codes(prior, **inputs, hop=hops[prior.config.level])[0].cpu()
                    totals[row][column] += bits.view(-1, highest // prior.config.hop_length).sum(1)
        self.unload_parts()
        rate = self.sampling_rate / highest
        return [
            LabelPosterior(song.name, compare, labels, torch.stack(bits).numpy(), rate)
            for song, bits in zip(songs, totals, strict=True)
        ]

    def _levels_to_score(self, levels: int | Sequence[int] | None, codes: Any) -> list[int]:
        """Return the levels to score, the highest first."""
        given = as_codes(codes)
        if given is not None and levels is None and (known := levels_with_codes(given, self.hierarchy)):
            levels = known
        return levels_to_sample(self.hierarchy, levels)

    def _songs(self, audio: Any, codes: Any, sampling_rate: int | None, levels: Sequence[int]) -> list[CodedSong]:
        """Return the songs of a call, with the codes that scoring `levels` needs."""
        check_one_input(audio, codes)
        if codes is not None:
            return songs_of_codes(as_codes(codes) or [], self.hierarchy, levels)
        self.load_part(self.vqvae)
        recordings = open_recordings(audio, sampling_rate, self.sampling_rate)
        return list(encode_songs(self.vqvae, recordings, self.hierarchy, levels, self.execution_device))

    def _timing(
        self, song: CodedSong, total_length_in_s: float | None, offset_in_s: float, levels: Sequence[int]
    ) -> tuple[int, int]:
        """Return the length of a song and the offset of its recording in it, in samples."""
        prior = self.priors[levels[0]]
        assert prior is not None
        if total_length_in_s is None and offset_in_s == 0:
            return covered_length(prior.config, song.top_codes * self.hierarchy.top_hop), 0
        return song_timing(self.hierarchy, song.top_codes, total_length_in_s, offset_in_s, levels)

    def _scored(self, prior: JukeboxPrior, song: CodedSong, conditioning: SongConditioning) -> dict[str, Any]:
        """Return the arguments of `score_codes` for one song."""
        config = prior.config
        labels = labels_of_windows(self.window_labels(prior), conditioning) if config.has_labels else None
        upper = song.codes[config.level + 1][None] if config.is_upsampler else None
        return {"codes": song.codes[config.level][None], "upper_codes": upper, "labels": labels}
