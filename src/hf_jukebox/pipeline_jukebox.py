"""The whole path: a prompt in, its continuation out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack, overload

import torch

from .audio.prompts import Audio
from .files.text import user_path
from .loading.sources import PathLike
from .pipeline_output import JukeboxPipelineOutput, Waveforms
from .pipeline_parts import sampling
from .pipeline_runs import JukeboxRuns
from .pipeline_sampling import OutputType, check_no_run, check_output_type
from .runs.actions import SamplingOptions
from .runs.folder import JukeboxRun
from .sampler import Callback, SamplingProgress
from .sampling.arguments import Arguments
from .sampling.known import as_codes
from .sampling.processes import on_main_process
from .sampling.request import DEFAULT_TEMPERATURE, Seeds
from .sampling.state import SamplingState
from .sampling.values import PerLevel, PerSong

__all__ = ["JukeboxPipeline", "JukeboxPipelineOutput", "SamplingProgress"]


class CallOptions(SamplingOptions, total=False):
    """The options of `JukeboxPipeline.__call__`, for type checkers."""

    sampling_rate: int | None
    artist: PerSong[str | None]
    genre: PerSong[str | None]
    lyrics: PerSong[str | None]
    audio_length_in_s: float | None
    prompt_length_in_s: float | None
    total_length_in_s: PerSong[float | None]
    offset_in_s: PerSong[float]
    num_waveforms_per_prompt: int
    codes: Sequence[torch.Tensor | None] | None
    generator: Seeds
    output_type: OutputType
    output_dir: PathLike | None
    callback: Callback | None


class JukeboxPipeline(JukeboxRuns):
    """Continues recordings, or makes songs up, with a VQ-VAE and one prior a level.

    Args:
        vqvae: The VQ-VAE; it has as many levels as there are priors.
        tokenizer: Makes the labels. By default it is built from the names and alphabets that the priors carry.
        prior_0, prior_1, prior_2: The priors, finest first; the last level's is the top prior. A missing one leaves
            its level undrawn.

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
        temperature: PerLevel[float] = DEFAULT_TEMPERATURE,
        top_k: PerLevel[int] = 0,
        top_p: PerLevel[float] = 0.0,
        hop_fraction: PerLevel[float] | None = None,
        levels: int | Sequence[int] | None = None,
        codes: Sequence[torch.Tensor | None] | None = None,
        generator: Seeds = None,
        upsampling: Literal["sequential", "parallel"] = "sequential",
        max_batch_size: int | None = None,
        output_type: OutputType = "np",
        output_dir: PathLike | None = None,
        callback: Callback | None = None,
        return_dict: bool = True,
    ) -> JukeboxPipelineOutput | tuple[Waveforms | list[torch.Tensor]]:
        """Draw the codes of every level, from the top down, and decode them.

        Without `audio` and `codes` songs are made up; with `audio` it is continued; `codes=out.codes` and a longer
        `audio_length_in_s` go on with an earlier result; `codes=[None, None, top]` draws the levels under given ones.

        Args:
            audio: A prompt, or a list with one a song: a path; bytes or an open file; a decoder of torchcodec; a dict
                as datasets makes it; `(samples, rate)`; or samples `[T]`. An array on its own may be a batch `[B, T]`
                or `[B, C, T]`, whose channels are averaged. Two rows `[2, T]` that are alike are refused as stereo:
                give that as `[1, 2, T]`, and two songs as a list of two. See [`~audio.prompts.read_prompts`].
            sampling_rate: Of samples that come without one, in Hz; by default the model's, with a warning.
            artist, genre, lyrics: Labels, one for all songs or one a song; unknown by default.
            audio_length_in_s: Length of the whole result, prompt included, cut down to whole top-level codes. One
                window of the top prior by default, or the length of `codes`.
            prompt_length_in_s: How much of the start of `audio` to use; by default all, up to half a window of the
                top prior.
            total_length_in_s: Length of the song of which this is a part; by default the larger of offset + length
                and the shortest song that the model knows.
            offset_in_s: Where in its song the piece begins.
            num_waveforms_per_prompt: Candidates of each song.
            temperature, top_k, top_p: See [`~sampling.logits.SamplingSettings`]; one for all levels, or one a level, finest
                first. `temperature=1, top_k=1` is greedy.
            hop_fraction: Codes from one window to the next, as a share of a window; by default 0.125 at the top level
                and 0.5 under it.
            levels: Which levels to draw, all that have a prior by default; `levels=(2,)` draws the top level only.
            codes: Known codes of each level, finest first, `[N, T_level]` or None.
            generator: A generator or a seed, which makes a run repeatable; a list has one a song.
            upsampling: `"parallel"` draws the levels under the top as one batch of segments, each of which warms up on
                codes of its own; much faster, but a segment does not know its neighbours. See docs/performance.md.
            max_batch_size: Songs that are drawn at a time, all by default; in parallel upsampling segments, by default
                as many as fit into memory.
            output_type: `"np"` for numpy arrays, `"pt"` for tensors, `"latent"` for codes without audio.
            output_dir: Keep the run in this folder as it is drawn, with the audio of each level and a listening page,
                `index.html`; if it is interrupted, `resume` goes on from there. The folder must not hold a run.
            callback: Called after every code. The run stops when it returns False, and what was drawn is returned.
            return_dict: Return a [`JukeboxPipelineOutput`], else a tuple of the audios; with `"latent"`, of the codes.

        Raises:
            ValueError, OSError: what is wrong with the input, and what to change.
        """
        if audio is not None and codes is not None:
            raise ValueError("Give a prompt as audio, or the codes of an earlier run, not both.")
        check_output_type(output_type)
        folder = None if output_dir is None else user_path(output_dir)
        if folder is not None:
            check_no_run(folder)
        arguments = Arguments(
            artist=artist,
            genre=genre,
            lyrics=lyrics,
            total_length_in_s=total_length_in_s,
            offset_in_s=offset_in_s,
            num_waveforms_per_prompt=num_waveforms_per_prompt,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            hop_fraction=hop_fraction,
            levels=levels,
            generator=generator,
            max_batch_size=max_batch_size,
            upsampling=upsampling,
        )

        def new_piece() -> SamplingState:
            prompts = self._read_prompts(audio, sampling_rate, prompt_length_in_s)
            return self._new_piece(arguments, audio_length_in_s, prompts, as_codes(codes))

        piece = on_main_process(new_piece)
        if folder is None:
            output = self._draw(piece, None, callback, output_type)
        else:
            with JukeboxRun.shared(lambda: JukeboxRun.beginning(folder, self._first_step(piece), piece)) as run:
                output = self._draw(piece, run, callback, output_type)
        if return_dict:
            return output
        return (output.codes if output.audios is None else output.audios,)
