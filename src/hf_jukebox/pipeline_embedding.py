"""Methods of the pipeline that embed recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from .audio.prompts import Audio
from .loading.sources import PathLike
from .modeling_prior import JukeboxPrior
from .pipeline_parts import JukeboxParts, sampling
from .runs.record import weights_fingerprint
from .sampling.known import as_codes
from .sampling.request import SongConditioning
from .sampling.window_labels import WindowLabels, covered_length, labels_of_windows
from .study.coded_songs import songs_of_codes
from .study.embedding import (
    JUKEMIR_SECONDS,
    JUKEMIR_TOTAL_SECONDS,
    Compat,
    EmbeddingSettings,
    JukeboxEmbeddings,
    Pool,
    collect,
    embed_codes,
)
from .study.embedding_files import EmbeddedFiles, check_output, embed_to_file, iter_openers
from .study.recordings import Recording, encode_recording, open_recordings


class JukeboxEmbedder(JukeboxParts):
    """The part of [`JukeboxPipeline`] that embeds recordings."""

    @sampling
    def embed(
        self,
        audio: Audio | None = None,
        *,
        layers: int | Sequence[int] | None = None,
        pool: Pool | Sequence[Pool] = "mean",
        windows: int | None = None,
        hop_fraction: float = 1.0,
        compat: Compat = None,
        codes: Sequence[torch.Tensor | None] | None = None,
        sampling_rate: int | None = None,
    ) -> JukeboxEmbeddings:
        """Embed recordings by the activations of the top prior, pooled over time.

        The prior runs up to the highest of `layers`. In a pipeline that was loaded with `low_memory` the weights above
        are not read either, nor the files that hold nothing else. Each recording is embedded on its own: its numbers do
        not depend on those beside it, to the bit.

        Args:
            audio: Recordings, in all forms that `__call__` takes. Files are read in blocks.
            layers: Layers to read: 0 is the input of the first block, n the output of the first n blocks. By default
                half of them, 36 in the 5B models.
            pool: `"mean"` for one vector per recording, seconds for one per stretch of this length, None for one per
                code; several at once as a list.
            windows: Number of windows to use, from the start; all by default. A window is one pass of the prior, of
                `n_ctx` codes, 23.8 s in the 5B models.
            hop_fraction: Codes from the start of one window to that of the next, as a share of a window. Below 1
                windows overlap, and a code is read from the first window that holds it: every code but those of the
                first window then has at least `1 - hop_fraction` of a window before it.
            compat: `"jukemir"` for the recipe of Castellon et al. (2021): the peak of the whole recording scaled to 1,
                the first 25 s encoded, one window of them, as part of a song of 62 s; float32 only.
            codes: Codes instead of audio, as `out.codes` of a run; those of the top level are embedded.
            sampling_rate: Rate of samples that come without one.

        Returns:
            A [`JukeboxEmbeddings`]; artist, genre and lyrics are unknown to the prior.

        Raises:
            ValueError, OSError: the input is wrong; the message says what to change.
        """
        prior = self.top_prior()
        settings = self._embedding_settings(prior, layers, pool, windows, hop_fraction, compat)
        check_one_input(audio, codes)
        if codes is not None:
            if compat is not None:
                raise ValueError("`compat='jukemir'` begins with the waveform; give audio instead of codes.")
            top, hop = prior.config.level, prior.config.hop_length
            songs = songs_of_codes(as_codes(codes) or [], self.hierarchy, [top])
            found = [(song.name, song.codes[top], song.top_codes * hop) for song in songs]
        else:
            self.load_part(self.vqvae)
            recordings = open_recordings(audio, sampling_rate, self.sampling_rate)
            found = [(each.name, self._encode(each, settings), each.num_samples) for each in recordings]
        if not found:
            raise ValueError("There is nothing to embed; give at least one recording.")
        self.load_part(prior, settings.num_layers)
        results = [self._embed(song, num_samples, settings) for _, song, num_samples in found]
        self.unload_parts()
        lengths = [len(song[: settings.most_codes(prior.config)]) for _, song, _ in found]
        rate = prior.config.codes_per_second
        return collect([name for name, _, _ in found], results, lengths, settings, rate)

    @sampling
    def embed_files(
        self,
        recordings: PathLike | Iterable[Any],
        output_file: PathLike,
        *,
        layers: int | Sequence[int] | None = None,
        pool: Pool | Sequence[Pool] = "mean",
        windows: int | None = None,
        hop_fraction: float = 1.0,
        compat: Compat = None,
        callback: Callable[[str, bool], None] | None = None,
    ) -> EmbeddedFiles:
        """Embed any number of recordings into one file, in memory that depends neither on their number nor lengths.

        Each recording is kept in the folder `output_file.parts` until all are done: repeat an interrupted call, and it
        continues. A recording that cannot be read is logged, skipped, and named in the result.

        Args:
            recordings: A folder of recordings; or paths, or `(name, recording)` pairs such as
                `((str(row), example["audio"]) for row, example in enumerate(dataset))`, in any iterable. A repeated
                call must give the same ones.
            output_file: A new file: `.parquet` has a row per recording and stretch of time, with the columns
                recording, pool, start, end and layer_N; `.npz` has them as arrays.
            layers, pool, windows, hop_fraction, compat: As in `embed`.
            callback: Called with the name of each recording after it, and whether it was embedded.

        Raises:
            ValueError, OSError: an argument is wrong, none of the recordings can be read, or the file exists.
        """
        prior = self.top_prior()
        settings = self._embedding_settings(prior, layers, pool, windows, hop_fraction, compat)
        path = check_output(output_file)
        openers = iter_openers(recordings)
        self.load_part(prior, settings.num_layers)
        record = asdict(settings) | {
            "pool": list(settings.pools),
            "hidden_size": prior.config.hidden_size,
            "codes_per_second": prior.config.codes_per_second,
            "dtype": str(prior.transformer.dtype).removeprefix("torch."),
            "vqvae": weights_fingerprint(self.vqvae),
            "prior": weights_fingerprint(prior, unused=prior.unused_below(settings.num_layers)),
        }
        del record["pools"]

        def embed(recording: Any) -> JukeboxEmbeddings:
            (found,) = open_recordings(recording, None, self.sampling_rate)
            self.load_part(self.vqvae)
            codes = self._encode(found, settings)
            self.load_part(prior, settings.num_layers)
            pooled = self._embed(codes, found.num_samples, settings)
            return collect([found.name], [pooled], [len(codes)], settings, record["codes_per_second"])

        try:
            return embed_to_file(embed, openers, path, record, callback)
        finally:
            self.unload_parts()

    def _embedding_settings(
        self,
        prior: JukeboxPrior,
        layers: int | Sequence[int] | None,
        pool: Pool | Sequence[Pool],
        windows: int | None,
        hop_fraction: float,
        compat: Compat,
    ) -> EmbeddingSettings:
        settings = EmbeddingSettings.resolve(prior.config, layers, pool, windows, hop_fraction, compat)
        if compat is not None and prior.transformer.dtype != torch.float32:
            dtype = str(prior.transformer.dtype).removeprefix("torch.")
            raise ValueError(
                f"`compat='jukemir'` needs float32, but this prior is in {dtype}; load the pipeline with "
                "`dtype='float32'`."
            )
        return settings

    def _encode(self, recording: Recording, settings: EmbeddingSettings) -> torch.Tensor:
        """Return the top-level codes `[T]` of a recording that an embedding needs."""
        vqvae, config = self.vqvae, self.top_prior().config
        most_samples, peak = None, 1.0
        if settings.compat == "jukemir":
            most_samples = JUKEMIR_SECONDS * config.sampling_rate
            peak = recording.peak() or 1.0  # silence stays silent
        return encode_recording(
            vqvae,
            recording,
            config.level,
            self.execution_device,
            most_samples=most_samples,
            most_codes=settings.most_codes(config),
            peak=peak,
        )

    def _embed(self, codes: torch.Tensor, num_samples: int, settings: EmbeddingSettings) -> dict[Pool, Any]:
        prior = self.top_prior()
        if not prior.config.has_labels:
            return embed_codes(prior, codes, None, settings)
        length = covered_length(prior.config, num_samples)
        if settings.compat == "jukemir":
            hop = prior.config.hop_length
            length = JUKEMIR_TOTAL_SECONDS * prior.config.sampling_rate // hop * hop
        song = SongConditioning(None, None, None, length, 0, (0, 0))
        return embed_codes(prior, codes, labels_of_windows(self.window_labels(prior), song), settings)

    def window_labels(self, prior: JukeboxPrior) -> WindowLabels:
        """Return the labels of a prior's windows, from the tokenizer or the names in its config."""
        if self.tokenizer is None:
            return WindowLabels.from_config(prior.config)
        return WindowLabels(self.tokenizer, prior.config)

    def top_prior(self) -> JukeboxPrior:
        """Return the prior of the top level.

        Raises:
            ValueError: the pipeline has none.
        """
        prior = self.priors[-1]
        if prior is None:
            raise ValueError("This pipeline has no top prior to study music with; load it with one.")
        return prior


def check_one_input(audio: object, codes: object) -> None:
    """Refuse a call with both audio and codes, or with neither.

    Raises:
        ValueError: it is one.
    """
    if (audio is None) == (codes is None):
        raise ValueError("Give either recordings as audio, or codes.")
