"""The whole path: a prompt in, its continuation out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack, get_args

import numpy as np
import torch
from diffusers.utils import BaseOutput

from .audio import prepare_audio, read_audio, write_audio
from .drawing import Callback, Drawer, SamplingProgress
from .pipeline_parts import JukeboxParts, PathLike
from .runs.folder import JukeboxRun, check_free
from .runs.page import update_page
from .runs.record import ModelRecord, SongFolder, Step, check_model
from .runs.songs import SongRequest
from .runs.steps import Changes, DrawOptions, continued, upsampled
from .sampling.arguments import Arguments
from .sampling.compiled import StepCompiler
from .sampling.known import KnownCodes, check_codes, cut_prompts, encode_prompts
from .sampling.level import DrawCode, draw_code
from .sampling.piece import Piece
from .sampling.processes import from_first
from .sampling.request import DEFAULT_TEMPERATURE, PerLevel, PerSong, Seeds, at_least_one, levels_to_draw, top_codes

Audio = PathLike | np.ndarray | torch.Tensor
Waveforms = np.ndarray | torch.Tensor

__all__ = ["JukeboxPipeline", "JukeboxPipelineOutput", "SamplingProgress"]

OutputType = Literal["np", "pt", "latent"]

_NO_PROMPT = np.zeros(0, np.float32)


@dataclass
class JukeboxPipelineOutput(BaseOutput):
    """What a pipeline drew.

    Attributes:
        audios: `[N, T]` float32 in [-1, 1], decoded from the finest level drawn; None for `output_type="latent"`.
        sampling_rate: Samples a second.
        codes: Codes of every level, finest first, `[N, T_level]`; they begin with the prompt's own. A level that was
            not drawn holds what was known of it.
        level_audios: The piece as each drawn level gives it, finest first; None where a level was not drawn.
    """

    audios: Waveforms | None
    sampling_rate: int
    codes: list[torch.Tensor]
    level_audios: list[Waveforms | None]

    def save(self, folder: PathLike) -> list[Path]:
        """Write `folder/level_L/item_N.wav` for every level drawn; the paths, finest level first."""
        paths = []
        for level, audios in enumerate(self.level_audios):
            for item, audio in enumerate([] if audios is None else audios):
                path = Path(folder) / f"level_{level}" / f"item_{item}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_audio(path, np.asarray(audio), self.sampling_rate)
                paths.append(path)
        return paths


class JukeboxPipeline(JukeboxParts):
    """Continues recordings, or makes songs up, with a VQ-VAE and one prior a level.

    Args:
        vqvae: The VQ-VAE; it has as many levels as there are priors.
        tokenizer: Makes the labels. By default it is built from the names and alphabets that the priors carry.
        prior_0, prior_1, prior_2: The priors, finest first; the last level's is the top prior. A missing one leaves
            its level undrawn.

    Raises:
        ValueError: the parts do not belong together.
    """

    _draw_code: DrawCode = staticmethod(draw_code)

    def compile(self) -> None:
        """Compile the decode step when it is first needed, once a level, batch size and settings.

        That takes a minute or more each time, and pays from some thousand codes on. On a CPU it needs a C++ compiler,
        and with several songs it keeps a second copy of the weights. Call it again after changing a prior.
        """
        self._draw_code = StepCompiler()

    @torch.no_grad()
    def __call__(
        self,
        audio: Audio | Sequence[Audio] | None = None,
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
    ) -> JukeboxPipelineOutput | tuple[Waveforms | None]:
        """Draw the codes of every level, from the top down, and decode them.

        Without `audio` and `codes` songs are made up; with `audio` it is continued; `codes=out.codes` and a longer
        `audio_length_in_s` go on with an earlier result; `codes=[None, None, top]` draws the levels under given ones.

        Args:
            audio: A prompt, or a list with one a song: a file, or samples `[T]` or `[B, T]`.
            sampling_rate: Of samples given as `audio`; the model's own by default.
            artist, genre, lyrics: Labels, one for all songs or one a song; unknown by default.
            audio_length_in_s: Length of the whole result, prompt included, cut down to whole top-level codes. One
                window of the top prior by default, or the length of `codes`.
            prompt_length_in_s: How much of the start of `audio` to use; by default all, up to half a window of the
                top prior.
            total_length_in_s: Length of the song of which this is a part; by default the larger of offset + length
                and the shortest song that the model knows.
            offset_in_s: Where in its song the piece begins.
            num_waveforms_per_prompt: Candidates of each song.
            temperature, top_k, top_p: See [`~sampling.draw.DrawSettings`]; one for all levels, or one a level, finest
                first. `temperature=1, top_k=1` is greedy.
            hop_fraction: Codes from one window to the next, as a share of a window; by default 0.125 at the top level
                and 0.5 under it.
            levels: Which levels to draw, all that have a prior by default; `levels=(2,)` draws the top level only.
            codes: Known codes of each level, finest first, `[N, T_level]` or None.
            generator: Makes a run repeatable; a list has one a song.
            upsampling: `"parallel"` draws the levels under the top as one batch of segments, each of which warms up on
                codes of its own; much faster, but a segment does not know its neighbours. See docs/performance.md.
            max_batch_size: Songs that are drawn at a time, all by default; in parallel upsampling segments, by default
                as many as fit into memory.
            output_type: `"np"` for numpy arrays, `"pt"` for tensors, `"latent"` for codes without audio.
            output_dir: Keep the run in this folder as it is drawn, with the audio of each level and a listening page,
                `index.html`; if it is interrupted, `resume` goes on from there. The folder must not hold a run.
            callback: Called after every code. The run stops when it returns False, and what was drawn is returned.
            return_dict: Return a [`JukeboxPipelineOutput`], else a tuple of the audios.

        Raises:
            ValueError, OSError: what is wrong with the input, and what to change.
        """
        if audio is not None and codes is not None:
            raise ValueError("Give a prompt as audio, or the codes of an earlier run, not both.")
        _check_output_type(output_type)
        if output_dir is not None:
            _check_free(output_dir)
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

        def new_piece() -> Piece:
            prompts = self._read_prompts(audio, sampling_rate, prompt_length_in_s)
            return self._new_piece(arguments, audio_length_in_s, prompts, codes)

        piece = from_first(new_piece)
        if output_dir is None:
            output = self._draw(piece, None, callback, output_type)
        else:
            folder = output_dir
            with JukeboxRun.shared(lambda: JukeboxRun.beginning(folder, self._first_step(piece), piece)) as run:
                output = self._draw(piece, run, callback, output_type)
        return output if return_dict else (output.audios,)

    @torch.no_grad()
    def resume(
        self,
        run_dir: PathLike,
        *,
        max_batch_size: int | None = None,
        output_type: OutputType = "np",
        callback: Callback | None = None,
    ) -> JukeboxPipelineOutput:
        """Go on with a run from where it stopped, however it stopped.

        On the same device and in the same precision the codes are those of a run that was never stopped. For the other
        arguments see `__call__`.

        Args:
            run_dir: The `output_dir` of the run.
            max_batch_size: Songs or segments that are drawn at a time from here on; as before by default.

        Raises:
            ValueError, OSError: the folder holds no run, or one of another model, or it is damaged or in use.
        """
        _check_output_type(output_type)
        with JukeboxRun.shared(lambda: JukeboxRun.editing(run_dir)) as run:

            def piece_so_far() -> Piece:
                assert run is not None  # it is the first process's
                check_model(run.step.model, self._model_record().parts, run.folder)
                levels_to_draw(self.system, run.request.levels)
                piece = run.piece(self.system)
                if max_batch_size is not None:
                    piece.max_batch_size = at_least_one("max_batch_size", max_batch_size)
                return piece

            return self._draw(from_first(piece_so_far), run, callback, output_type)

    @torch.no_grad()
    def continue_run(
        self,
        run_dir: PathLike,
        audio_length_in_s: float,
        *,
        levels: int | Sequence[int] | None = None,
        num_waveforms_per_prompt: int = 1,
        output_type: OutputType = "np",
        callback: Callback | None = None,
        **changes: Unpack[Changes],
    ) -> JukeboxPipelineOutput:
        """Make a finished run longer, in its own folder; interrupted, it is gone on with by `resume`.

        Args:
            run_dir: The `output_dir` of the run.
            audio_length_in_s: Length of the whole result, with what there is.
            levels: Which levels to draw; those of the run by default.
            num_waveforms_per_prompt: Candidates of each song; see [`JukeboxRun.pick`].
            changes: What to do otherwise than before, and it is recorded: `artist`, `genre`, `lyrics`,
                `total_length_in_s`, `temperature`, `top_k`, `top_p`, `hop_fraction`, `generator`, `max_batch_size`.

        Raises:
            ValueError, OSError: the run is not finished, no shorter than asked for, of another VQ-VAE, or in use.
        """
        _check_output_type(output_type)

        def step(run: JukeboxRun) -> Step:
            model = self._model_for(run)
            candidates = at_least_one("num_waveforms_per_prompt", num_waveforms_per_prompt)
            return continued(run, self.system, model, audio_length_in_s, levels, candidates, changes)

        return self._next_step(run_dir, step, callback, output_type)

    @torch.no_grad()
    def upsample_run(
        self,
        run_dir: PathLike,
        *,
        output_type: OutputType = "np",
        callback: Callback | None = None,
        **changes: Unpack[Changes],
    ) -> JukeboxPipelineOutput:
        """Draw the levels under those of a finished run, in its own folder; see `continue_run` for the arguments.

        Raises:
            ValueError, OSError: the run is not finished, has all levels, is of another VQ-VAE, or in use.
        """
        _check_output_type(output_type)

        def step(run: JukeboxRun) -> Step:
            return upsampled(run, self.system, self._model_for(run), changes)

        return self._next_step(run_dir, step, callback, output_type)

    @torch.no_grad()
    def draw_songs(
        self,
        songs: Sequence[SongRequest],
        output_dir: PathLike,
        *,
        num_waveforms_per_prompt: int = 1,
        output_type: OutputType = "np",
        callback: Callback | None = None,
        **options: Unpack[DrawOptions],
    ) -> JukeboxPipelineOutput:
        """Draw several songs, each with labels, a prompt, a seed and lengths of its own, as one batch.

        The batch is a run in `output_dir`, and what is finished of each song is one in a folder of its name there. All
        are drawn to the length of the longest, and the others cut.

        Args:
            songs: What to draw; [`~runs.songs.read_songs`] reads them from a file.
            output_dir: A folder that holds no run.
            num_waveforms_per_prompt: Candidates of each song.
            options: As in `__call__`: `temperature`, `top_k`, `top_p`, `hop_fraction`, `levels`, `max_batch_size`.

        Raises:
            ValueError, OSError: what is wrong with a song, and what to change.
        """
        _check_output_type(output_type)
        _check_free(output_dir)
        system, candidates = self.system, at_least_one("num_waveforms_per_prompt", num_waveforms_per_prompt)
        lengths = [top_codes(system, song.seconds, 0) for song in songs]
        prompts = [self._read_prompts(song.prompt, None, song.prompt_seconds) or [_NO_PROMPT] for song in songs]
        for prompt, length in zip(prompts, lengths, strict=True):
            cut_prompts(prompt, system, length)  # to the song's own length, which may be less than the batch's
        arguments = Arguments(
            artist=[song.artist for song in songs],
            genre=[song.genre for song in songs],
            lyrics=[song.lyrics for song in songs],
            total_length_in_s=[song.total_seconds for song in songs],
            offset_in_s=[song.offset_seconds for song in songs],
            # The candidates of a song take their seeds from its generator in turn.
            generator=[source for song in songs for source in [song.generator()] * candidates],
            num_waveforms_per_prompt=candidates,
            **options,
        )
        longest = max(lengths) * system.top_hop / self.sampling_rate
        piece = from_first(lambda: self._new_piece(arguments, longest, [prompt for (prompt,) in prompts], None))
        folders = [
            SongFolder(song.name, row * candidates, (row + 1) * candidates - 1, length, song.title or "")
            for row, (song, length) in enumerate(zip(songs, lengths, strict=True))
        ]
        with JukeboxRun.shared(
            lambda: JukeboxRun.beginning(output_dir, self._first_step(piece, folders), piece)
        ) as run:
            return self._draw(piece, run, callback, output_type)

    def _new_piece(
        self,
        arguments: Arguments,
        audio_length_in_s: float | None,
        prompts: list[np.ndarray] | None,
        codes: Sequence[torch.Tensor | None] | None,
    ) -> Piece:
        """What a call asks for, decided, with the codes that exist."""
        system = self.system
        known_top = 0 if not codes or codes[-1] is None else codes[-1].shape[-1]
        length = top_codes(system, audio_length_in_s, known_top)
        known: list[KnownCodes] | None = None
        if prompts is not None:
            prompts = cut_prompts(prompts, system, length)
        elif codes is not None:
            known = check_codes(codes, system, length)
        request = arguments.request(system, length, prompts, known)
        if prompts is not None:
            self._place(self.vqvae)
            known = encode_prompts(self.vqvae, prompts, self._execution_device)
        elif known is None:
            known = check_codes([None] * system.num_levels, system, length)
        return Piece.begin(request, [of_level.for_songs(len(request.songs)) for of_level in known], system)

    def _draw(
        self, piece: Piece, run: JukeboxRun | None, callback: Callback | None, output_type: OutputType
    ) -> JukeboxPipelineOutput:
        """Draw what a piece lacks, and decode it."""
        drawer = Drawer(
            self.vqvae,
            self.priors,
            self.tokenizer,
            self._execution_device,
            self._place,
            self._progress_bar_of,
            self._draw_code,
        )
        audios: list[Waveforms | None] = [None] * len(piece.levels)
        for level in drawer.draw(piece, run, callback):
            if run is not None and run.is_owner:
                update_page(run, self.priors[-1], self.tokenizer, self._place)
            if output_type != "latent":
                audio = drawer.decode(piece, level)
                audios[level] = audio.numpy() if output_type == "np" else audio
        self._release()
        finest = next((audio for audio in audios if audio is not None), None)
        codes = [of_level.existing for of_level in piece.levels]
        return JukeboxPipelineOutput(finest, self.sampling_rate, codes, audios)

    def _first_step(self, piece: Piece, folders: Sequence[SongFolder] = ()) -> Step:
        known = [of_level.known for of_level in piece.levels]
        songs = range(len(piece.request.songs))
        return Step.now("sample", piece.request, known, songs, self._model_record(), folders)

    def _next_step(
        self,
        run_dir: PathLike,
        step: Callable[[JukeboxRun], Step],
        callback: Callback | None,
        output_type: OutputType,
    ) -> JukeboxPipelineOutput:
        with JukeboxRun.shared(lambda: JukeboxRun.editing(run_dir)) as run:

            def begin() -> tuple[list[Step], Piece]:
                assert run is not None  # it is the first process's
                run.begin(step(run))
                return run.steps, run.piece(self.system)

            steps, piece = from_first(begin)
            if run is not None:
                run.follow(steps)
            return self._draw(piece, run, callback, output_type)

    def _model_for(self, run: JukeboxRun) -> ModelRecord:
        """The record of this model for a next step of a run: priors may be others, the codes' meaning may not."""
        model = self._model_record()
        check_model(run.step.model, {"vqvae": model.parts["vqvae"]}, run.folder)
        return model

    def _progress_bar_of(self, total: int) -> Any:
        return self.progress_bar(total=total)

    def _read_prompts(
        self, audio: Audio | Sequence[Audio] | None, sampling_rate: int | None, prompt_length_in_s: float | None
    ) -> list[np.ndarray] | None:
        """Prompts `[T]` at the model's rate, at most as long as asked for."""
        if audio is None:
            return None
        system, rate = self.system, self.sampling_rate
        limit = system.top_window // 2
        if prompt_length_in_s is not None:
            limit = system.samples("prompt_length_in_s", prompt_length_in_s)
        prompts: list[np.ndarray] = []
        for each in audio if isinstance(audio, Sequence) and not isinstance(audio, str) else [audio]:
            if isinstance(each, (str, os.PathLike)):
                prompts.append(read_audio(each, rate, duration_in_s=limit / rate)[:limit])
            else:
                samples = prepare_audio(each, rate if sampling_rate is None else sampling_rate, rate)
                prompts.extend(row[:limit] for row in np.atleast_2d(samples))
        return prompts


def _check_output_type(output_type: str) -> None:
    if output_type not in get_args(OutputType):
        raise ValueError(f"output_type must be 'np', 'pt' or 'latent', not {output_type!r}.")


def _check_free(folder: PathLike) -> None:
    from_first(lambda: check_free(folder))  # before another process may see the run that the first one begins
