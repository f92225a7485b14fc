"""JukeboxPipeline: continues a prompt, or makes a song up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack, overload

import torch

from .audio.prompts import Audio
from .loading.sources import PathLike
from .pipeline_output import JukeboxPipelineOutput, Waveforms
from .pipeline_parts import sampling, sampling_in_steps
from .pipeline_runs import JukeboxRuns
from .pipeline_sampling import AudioCallback, OutputType, check_options, check_output_type, checked_run_folder
from .pipeline_study import JukeboxStudy
from .sampler import ProgressCallback, SamplingProgress
from .sampling.arguments import SongArguments
from .sampling.decode import AudioBlock
from .sampling.known import as_codes
from .sampling.options import SamplingOptions
from .sampling.processes import on_main_process
from .sampling.request import Seeds
from .sampling.state import SamplingState
from .sampling.values import PerSong

__all__ = ["JukeboxPipeline", "JukeboxPipelineOutput", "SamplingProgress"]


class StreamOptions(SamplingOptions, SongArguments, total=False):
    """Keyword arguments of `JukeboxPipeline.stream`, for type checkers."""

    sampling_rate: int | None
    audio_length_in_s: float | None
    prompt_length_in_s: float | None
    num_waveforms_per_prompt: int
    codes: Sequence[torch.Tensor | None] | None
    generator: Seeds
    output_dir: PathLike | None
    callback: ProgressCallback | None


class CallOptions(StreamOptions, total=False):
    """Keyword arguments of `JukeboxPipeline.__call__`, for type checkers."""

    output_type: OutputType
    on_audio: AudioCallback | None


class JukeboxPipeline(JukeboxRuns, JukeboxStudy):
    """Pipeline that continues recordings or makes songs up, with a VQ-VAE and one prior per level.

    Args:
        vqvae: VQ-VAE with as many levels as there are priors.
        tokenizer: Tokenizer of the labels; built from the names and alphabets in the priors' configs by default.
        prior_0, prior_1, prior_2: Priors, finest level first; that of the last level is the top prior. A level without
            a prior is not sampled.

    Raises:
        ValueError: the parts do not belong together.
    """

    @overload
    def __call__(
        self, audio: Audio | None = None, *, return_dict: Literal[True] = True, **options: Unpack[CallOptions]
    ) -> JukeboxPipelineOutput: ...

    @overload
    def __call__(
        self, audio: Audio | None = None, *, return_dict: Literal[False], **options: Unpack[CallOptions]
    ) -> tuple[Waveforms | list[torch.Tensor]]: ...

    @overload
    def __call__(
        self, audio: Audio | None = None, *, return_dict: bool, **options: Unpack[CallOptions]
    ) -> JukeboxPipelineOutput | tuple[Waveforms | list[torch.Tensor]]: ...

    @sampling
    def __call__(
        self,
        audio: Audio | None = None,
        *,
        sampling_rate: int | None = None,
        artist: PerSong[str | None] = None,
        genre: PerSong[str | None] = None,
        lyrics: PerSong[str | None] = None,
        audio_length_in_s: float | None = None,
        prompt_length_in_s: float | None = None,
        total_length_in_s: PerSong[float | None] = None,
        offset_in_s: PerSong[float] = 0.0,
        num_waveforms_per_prompt: int = 1,
        codes: Sequence[torch.Tensor | None] | None = None,
        generator: Seeds = None,
        output_type: OutputType = "np",
        output_dir: PathLike | None = None,
        callback: ProgressCallback | None = None,
        on_audio: AudioCallback | None = None,
        return_dict: bool = True,
        **options: Unpack[SamplingOptions],
    ) -> JukeboxPipelineOutput | tuple[Waveforms | list[torch.Tensor]]:
        """Sample the codes of every level, from the top down, and decode them.

        Without `audio` and `codes` a song is made up; `audio` is continued; `codes=out.codes` with a longer
        `audio_length_in_s` continues an earlier result; `codes=[None, None, top]` samples the levels below given ones.

        Args:
            audio: A prompt, or a list with one per song: a path; bytes or an open file; a decoder of torchcodec; a dict
                as datasets makes it; `(samples, rate)`; or samples `[T]`. An array on its own may be a batch `[B, T]`
                or `[B, C, T]`, whose channels are averaged. Two rows `[2, T]` that are alike are refused as stereo:
                give that as `[1, 2, T]`, and two songs as a list of two. See [`~audio.prompts.read_prompts`].
            sampling_rate: Rate of samples that come without one, in Hz; by default the model's, with a warning.
            artist, genre, lyrics: Labels, one for all songs or one per song; unknown by default.
            audio_length_in_s: Length of the whole result, prompt included, cut down to whole top-level codes. One
                window of the top prior by default, or the length of `codes`.
            prompt_length_in_s: Length of the start of `audio` to use; by default all, up to half a window of the top
                prior.
            total_length_in_s: Length of the song of which this is a part; by default the larger of offset + length
                and the shortest song that the model was trained on.
            offset_in_s: Start of the piece in its song.
            num_waveforms_per_prompt: Candidates per song.
            codes: Known codes of each level, finest first, `[N, T_level]` or None.
            generator: A generator or a seed, which makes a run repeatable; a list has one per song.
            output_type: `"np"` for numpy arrays, `"pt"` for tensors, `"latent"` for codes without audio.
            output_dir: Keep the run in this folder while it is sampled, with the audio of each level and a listening
                page, `index.html`; if it is interrupted, continue it with `resume_run`. The folder must not hold a run.
            callback: Called after every code with a [`SamplingProgress`]. The run stops when it returns False, and
                the codes sampled so far are returned.
            on_audio: Called with every [`AudioBlock`] as soon as it is final; see `stream`.
            return_dict: Return a [`JukeboxPipelineOutput`], else a tuple of the audios; with `"latent"`, of the codes.
            temperature, top_k, top_p: See [`~sampling.options.SamplingSettings`]; one for all levels, or one per level,
                finest first. `temperature=1, top_k=1` is greedy.
            hop_fraction: Codes from the start of one window to that of the next, as a share of a window; by default
                0.125 at the top level and 0.5 below it.
            levels: Levels to sample, all that have a prior by default; `levels=(2,)` samples the top level only.
            upsampling: `"parallel"` samples the levels below the top as one batch of segments, each of which warms up
                on codes of its own; much faster, but a segment does not see its neighbours. See docs/performance.md.
            max_batch_size: Songs to sample at a time, all by default; in parallel upsampling segments, by default as
                many as fit into memory.
            avoid: Folder of a catalogue of codes: no sampled code lies in a stretch of more than `longest_in_s` that
                also occurs there. `out.avoided` has the price. See docs/clean-hands.md.
            longest_in_s: Seconds that an agreement with the catalogue may last, 2 by default.

        Raises:
            ValueError, OSError: the input is wrong; the message says what to change.
        """
        # 1. Check the arguments and convert them: seconds to codes, one value per song and per level.
        # 2. Encode the prompts.
        check_options(options)
        check_output_type(output_type)
        folder, state = self._begin(
            audio,
            sampling_rate=sampling_rate,
            artist=artist,
            genre=genre,
            lyrics=lyrics,
            audio_length_in_s=audio_length_in_s,
            prompt_length_in_s=prompt_length_in_s,
            total_length_in_s=total_length_in_s,
            offset_in_s=offset_in_s,
            num_waveforms_per_prompt=num_waveforms_per_prompt,
            codes=codes,
            generator=generator,
            output_dir=output_dir,
            options=options,
        )
        with self.new_run(folder, state) as run:
            # 3. Sample the codes of each level, the top level first. 4. Decode them to audio.
            output = self.sample_levels(state, run, callback, output_type, on_audio)
        if return_dict:
            return output
        return (output.codes if output.audios is None else output.audios,)

    @sampling
    def stream(self, audio: Audio | None = None, **options: Unpack[StreamOptions]) -> Iterator[AudioBlock]:
        """Sample as `__call__` does, and yield the audio of each level in blocks, as soon as they are final.

        The blocks of the top level come first, then those of each finer level for the same seconds. Joined, the blocks
        of a song at a level are equal, bit for bit, to its `level_audios` and, as 16 bits, to its wav. With several
        songs they come as they get final, so those of different songs alternate.

        Sampling goes on when the next block is asked for. Closing the iterator, as `contextlib.closing` does, ends it;
        with `output_dir`, nothing is lost then, and `stream_run` continues it.

        Args:
            audio, options: See `__call__`.

        Raises:
            ValueError, OSError: the input is wrong; the message says what to change.
        """
        call: dict[str, Any] = dict(options)
        check_options(call, StreamOptions)
        callback = call.pop("callback", None)
        settings: Any = {name: call.pop(name) for name in [*call] if name in SamplingOptions.__annotations__}
        folder, state = self._begin(audio, options=settings, **call)
        return self._stream(folder, state, callback)

    @sampling_in_steps
    def _stream(
        self, folder: Path | None, state: SamplingState, callback: ProgressCallback | None
    ) -> Iterator[AudioBlock]:
        with self.new_run(folder, state) as run:
            yield from self.iter_levels(state, run, callback)

    def _begin(
        self,
        audio: Audio | None,
        *,
        options: SamplingOptions,
        sampling_rate: int | None = None,
        artist: PerSong[str | None] = None,
        genre: PerSong[str | None] = None,
        lyrics: PerSong[str | None] = None,
        audio_length_in_s: float | None = None,
        prompt_length_in_s: float | None = None,
        total_length_in_s: PerSong[float | None] = None,
        offset_in_s: PerSong[float] = 0.0,
        num_waveforms_per_prompt: int = 1,
        codes: Sequence[torch.Tensor | None] | None = None,
        generator: Seeds = None,
        output_dir: PathLike | None = None,
    ) -> tuple[Path | None, SamplingState]:
        """Check the arguments of a call and encode its prompts; return the folder for the run, and its state."""
        if audio is not None and codes is not None:
            raise ValueError("Give a prompt as `audio`, or the `codes` of an earlier run, not both.")
        folder = checked_run_folder(output_dir)
        songs: SongArguments = {
            "artist": artist,
            "genre": genre,
            "lyrics": lyrics,
            "total_length_in_s": total_length_in_s,
            "offset_in_s": offset_in_s,
        }

        def prepare() -> SamplingState:
            prompts = self.read_prompts(audio, sampling_rate, prompt_length_in_s)
            candidates = num_waveforms_per_prompt
            return self.prepare(audio_length_in_s, songs, options, generator, candidates, prompts, as_codes(codes))

        return folder, on_main_process(prepare)
