"""Runs in folders: resumed, continued, upsampled, and several songs as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Unpack

from .audio.prompts import NO_PROMPT
from .files.text import user_path
from .loading.sources import PathLike
from .pipeline_output import JukeboxPipelineOutput
from .pipeline_parts import sampling
from .pipeline_sampling import JukeboxSampling, OutputType, check_no_run, check_output_type
from .runs.actions import SamplingOptions, StepOverrides, continued, upsampled
from .runs.folder import JukeboxRun
from .runs.record import ModelRecord, RunStep, SongFolder, check_model
from .runs.song_requests import SongRequest
from .sampler import Callback
from .sampling.arguments import Arguments
from .sampling.known import cut_prompts
from .sampling.processes import on_main_process
from .sampling.request import levels_to_sample, top_codes
from .sampling.state import SamplingState
from .sampling.values import at_least_one


class JukeboxRuns(JukeboxSampling):
    """What a pipeline does with the folders of runs."""

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
        check_output_type(output_type)
        folder = user_path(run_dir)
        with JukeboxRun.shared(lambda: JukeboxRun.editing(folder)) as run:

            def piece_so_far() -> SamplingState:
                assert run is not None  # it is the first process's
                check_model(run.step.model, self._model_record().parts, run.folder)
                levels_to_sample(self.hierarchy, run.request.levels)
                piece = run.piece(self.hierarchy)
                if max_batch_size is not None:
                    piece.max_batch_size = at_least_one("max_batch_size", max_batch_size)
                return piece

            return self._draw(on_main_process(piece_so_far), run, callback, output_type)

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
        **overrides: Unpack[StepOverrides],
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
        check_output_type(output_type)

        def step(run: JukeboxRun) -> RunStep:
            model = self._model_for(run)
            candidates = at_least_one("num_waveforms_per_prompt", num_waveforms_per_prompt)
            return continued(run, self.hierarchy, model, audio_length_in_s, levels, candidates, overrides)

        return self._next_step(run_dir, step, overrides, callback, output_type)

    @sampling
    def upsample_run(
        self,
        run_dir: PathLike,
        *,
        output_type: OutputType = "np",
        callback: Callback | None = None,
        **overrides: Unpack[StepOverrides],
    ) -> JukeboxPipelineOutput:
        """Draw the levels under those of a finished run, in its own folder; see `continue_run` for the arguments.

        Raises:
            ValueError, OSError: the run is not finished, has all levels, is of another VQ-VAE, or in use.
        """
        check_output_type(output_type)

        def step(run: JukeboxRun) -> RunStep:
            return upsampled(run, self.hierarchy, self._model_for(run), overrides)

        return self._next_step(run_dir, step, overrides, callback, output_type)

    @sampling
    def sample_songs(
        self,
        songs: Sequence[SongRequest],
        output_dir: PathLike,
        *,
        num_waveforms_per_prompt: int = 1,
        output_type: OutputType = "np",
        callback: Callback | None = None,
        **options: Unpack[SamplingOptions],
    ) -> JukeboxPipelineOutput:
        """Draw several songs, each with labels, a prompt, a seed and lengths of its own, as one batch.

        The batch is a run in `output_dir`, and what is finished of each song is one in a folder of its name there. All
        are drawn to the length of the longest, and the others cut.

        Args:
            songs: What to draw; [`~runs.song_requests.read_songs`] reads them from a file.
            output_dir: A folder that holds no run.
            num_waveforms_per_prompt: Candidates of each song.
            options: As in `__call__`: `temperature`, `top_k`, `top_p`, `hop_fraction`, `levels`, `max_batch_size`.

        Raises:
            ValueError, OSError: what is wrong with a song, and what to change.
        """
        check_output_type(output_type)
        folder = user_path(output_dir)
        check_no_run(folder)
        hierarchy, candidates = self.hierarchy, at_least_one("num_waveforms_per_prompt", num_waveforms_per_prompt)
        lengths = [top_codes(hierarchy, song.seconds, 0) for song in songs]
        prompts = [self._read_prompts(song.prompt, None, song.prompt_seconds) or [NO_PROMPT] for song in songs]
        for prompt, length in zip(prompts, lengths, strict=True):
            cut_prompts(prompt, hierarchy, length)  # to the song's own length, which may be less than the batch's
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
        longest = max(lengths) * hierarchy.top_hop / self.sampling_rate
        piece = on_main_process(lambda: self._new_piece(arguments, longest, [prompt for (prompt,) in prompts], None))
        folders = [
            SongFolder(song.name, row * candidates, (row + 1) * candidates - 1, length, song.title or "")
            for row, (song, length) in enumerate(zip(songs, lengths, strict=True))
        ]
        with JukeboxRun.shared(lambda: JukeboxRun.beginning(folder, self._first_step(piece, folders), piece)) as run:
            return self._draw(piece, run, callback, output_type)

    def _next_step(
        self,
        run_dir: PathLike,
        step: Callable[[JukeboxRun], RunStep],
        overrides: StepOverrides,
        callback: Callback | None,
        output_type: OutputType,
    ) -> JukeboxPipelineOutput:
        folder = user_path(run_dir)
        with JukeboxRun.shared(lambda: JukeboxRun.editing(folder)) as run:

            def begin() -> tuple[list[RunStep], SamplingState]:
                assert run is not None  # it is the first process's
                run.begin(step(run))
                self._warn_of_labels(
                    run.request.levels, {name: overrides.get(name) for name in ("artist", "genre", "lyrics")}
                )
                return run.steps, run.piece(self.hierarchy)

            steps, piece = on_main_process(begin)
            if run is not None:
                run.follow(steps)
            return self._draw(piece, run, callback, output_type)

    def _model_for(self, run: JukeboxRun) -> ModelRecord:
        """The record of this model for a next step of a run: priors may be others, the codes' meaning may not."""
        model = self._model_record()
        check_model(run.step.model, {"vqvae": model.parts["vqvae"]}, run.folder)
        return model
