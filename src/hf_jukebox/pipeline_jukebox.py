"""The whole path: a prompt in, its continuation out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Unpack, get_args, overload

import torch

from .drawing import Callback, Drawer, SamplingProgress
from .files import user_path
from .pipeline_output import JukeboxPipelineOutput, Waveforms
from .pipeline_parts import JukeboxParts, sampling
from .pretrained import PathLike
from .prompts import NO_PROMPT, Audio, Prompt, read_prompts
from .runs.folder import JukeboxRun, check_free
from .runs.page import update_page
from .runs.record import ModelRecord, SongFolder, Step, check_model
from .runs.songs import SongRequest
from .runs.steps import Changes, DrawOptions, continued, upsampled
from .sampling.arguments import Arguments, label_remark
from .sampling.compiled import StepCompiler
from .sampling.known import KnownCodes, as_codes, check_codes, cut_prompts, encode_prompts
from .sampling.level import DrawCode, draw_code
from .sampling.piece import Piece
from .sampling.processes import from_first
from .sampling.request import DEFAULT_TEMPERATURE, Seeds, levels_to_draw, top_codes
from .sampling.values import PerLevel, PerSong, at_least_one

__all__ = ["JukeboxPipeline", "JukeboxPipelineOutput", "SamplingProgress"]

OutputType = Literal["np", "pt", "latent"]


class CallOptions(DrawOptions, total=False):
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
                give that as `[1, 2, T]`, and two songs as a list of two. See [`~prompts.read_prompts`].
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
            temperature, top_k, top_p: See [`~sampling.draw.DrawSettings`]; one for all levels, or one a level, finest
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
        _check_output_type(output_type)
        folder = None if output_dir is None else user_path(output_dir)
        if folder is not None:
            _check_free(folder)
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
            return self._new_piece(arguments, audio_length_in_s, prompts, as_codes(codes))

        piece = from_first(new_piece)
        if folder is None:
            output = self._draw(piece, None, callback, output_type)
        else:
            with JukeboxRun.shared(lambda: JukeboxRun.beginning(folder, self._first_step(piece), piece)) as run:
                output = self._draw(piece, run, callback, output_type)
        if return_dict:
            return output
        return (output.codes if output.audios is None else output.audios,)

    @sampling
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
        folder = user_path(run_dir)
        with JukeboxRun.shared(lambda: JukeboxRun.editing(folder)) as run:

            def piece_so_far() -> Piece:
                assert run is not None  # it is the first process's
                check_model(run.step.model, self._model_record().parts, run.folder)
                levels_to_draw(self.system, run.request.levels)
                piece = run.piece(self.system)
                if max_batch_size is not None:
                    piece.max_batch_size = at_least_one("max_batch_size", max_batch_size)
                return piece

            return self._draw(from_first(piece_so_far), run, callback, output_type)

    @sampling
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

        return self._next_step(run_dir, step, changes, callback, output_type)

    @sampling
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

        return self._next_step(run_dir, step, changes, callback, output_type)

    @sampling
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
        folder = user_path(output_dir)
        _check_free(folder)
        system, candidates = self.system, at_least_one("num_waveforms_per_prompt", num_waveforms_per_prompt)
        lengths = [top_codes(system, song.seconds, 0) for song in songs]
        prompts = [self._read_prompts(song.prompt, None, song.prompt_seconds) or [NO_PROMPT] for song in songs]
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
            kept_lengths=lengths,
            **options,
        )
        longest = max(lengths) * system.top_hop / self.sampling_rate
        piece = from_first(lambda: self._new_piece(arguments, longest, [prompt for (prompt,) in prompts], None))
        folders = [
            SongFolder(song.name, row * candidates, (row + 1) * candidates - 1, length, song.title or "")
            for row, (song, length) in enumerate(zip(songs, lengths, strict=True))
        ]
        with JukeboxRun.shared(lambda: JukeboxRun.beginning(folder, self._first_step(piece, folders), piece)) as run:
            return self._draw(piece, run, callback, output_type)

    def _new_piece(
        self,
        arguments: Arguments,
        audio_length_in_s: float | None,
        prompts: list[Prompt] | None,
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
        labels = {"artist": arguments.artist, "genre": arguments.genre, "lyrics": arguments.lyrics}
        self._warn_of_labels(request.levels, labels)
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
        changes: Changes,
        callback: Callback | None,
        output_type: OutputType,
    ) -> JukeboxPipelineOutput:
        folder = user_path(run_dir)
        with JukeboxRun.shared(lambda: JukeboxRun.editing(folder)) as run:

            def begin() -> tuple[list[Step], Piece]:
                assert run is not None  # it is the first process's
                run.begin(step(run))
                self._warn_of_labels(
                    run.request.levels, {name: changes.get(name) for name in ("artist", "genre", "lyrics")}
                )
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

    def _warn_of_labels(self, levels: Sequence[int], labels: Mapping[str, Any]) -> None:
        if remark := label_remark(self.system, levels, **labels):
            warnings.warn(remark, UserWarning, stacklevel=3)

    def _progress_bar_of(self, total: int) -> Any:
        return self.progress_bar(total=total)

    def _read_prompts(
        self, audio: Audio | None, sampling_rate: int | None, prompt_length_in_s: float | None
    ) -> list[Prompt] | None:
        """Prompts at the model's rate, at most as long as asked for."""
        if audio is None:
            return None
        system = self.system
        limit = system.top_window // 2
        if prompt_length_in_s is not None:
            limit = system.samples("prompt_length_in_s", prompt_length_in_s)
            if limit < system.top_hop:
                raise ValueError(
                    f"prompt_length_in_s is {prompt_length_in_s}, but one top-level code takes "
                    f"{system.top_hop / self.sampling_rate:.4f} s; use a larger one, or leave audio out."
                )
        return read_prompts(audio, sampling_rate=sampling_rate, model_rate=self.sampling_rate, limit=limit)


def _check_output_type(output_type: str) -> None:
    if output_type not in get_args(OutputType):
        raise ValueError(f"output_type must be 'np', 'pt' or 'latent', not {output_type!r}.")


def _check_free(folder: PathLike) -> None:
    from_first(lambda: check_free(folder))  # before another process may see the run that the first one begins
