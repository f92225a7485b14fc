"""Methods of the pipeline that work on run folders: resume, continue, upsample, pick, sample several songs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Unpack

from .audio.prompts import NO_PROMPT
from .files.text import user_path
from .loading.sources import PathLike
from .pipeline_adapters import JukeboxAdapters
from .pipeline_output import JukeboxPipelineOutput
from .pipeline_parts import sampling, sampling_in_steps
from .pipeline_sampling import AudioCallback, OutputType, check_options, check_output_type, checked_run_folder
from .runs.actions import StepOverrides, continued, pick_candidate, upsampled
from .runs.folder import JukeboxRun
from .runs.prior_records import check_blocks
from .runs.record import ModelRecord, RunStep, SongFolder, check_adapters, check_model, warn_of_other_bits
from .runs.song_requests import SongRequest, check_names
from .sampler import ProgressCallback
from .sampling.arguments import SongArguments
from .sampling.decode import AudioBlock
from .sampling.known import cut_prompts
from .sampling.options import SamplingOptions
from .sampling.processes import on_main_process
from .sampling.request import levels_to_sample, moved_avoidance, top_codes
from .sampling.state import SamplingState
from .sampling.values import at_least_one


class JukeboxRuns(JukeboxAdapters):
    """The part of [`JukeboxPipeline`] that works on run folders."""

    @sampling
    def resume_run(
        self,
        run_dir: PathLike,
        *,
        max_batch_size: int | None = None,
        avoid: PathLike | None = None,
        output_type: OutputType = "np",
        callback: ProgressCallback | None = None,
        on_audio: AudioCallback | None = None,
    ) -> JukeboxPipelineOutput:
        """Continue a run from where it stopped, however it stopped.

        On the same device, in the same precision and compiled or not as before, the codes are those of a run that was
        never stopped. For the other arguments see `__call__`; adapters must be those of the run, see
        `load_run_adapters`.

        Args:
            run_dir: The `output_dir` of the run.
            max_batch_size: Songs or segments to sample at a time from here on; as before by default.
            avoid: Place of the catalogue that the run avoids, if it has moved.

        Raises:
            ValueError, OSError: the folder holds no run, or one of another model, or it is damaged or in use.
        """
        check_output_type(output_type)
        with self._resumed(run_dir, max_batch_size, avoid) as (run, state):
            return self.sample_levels(state, run, callback, output_type, on_audio)

    @sampling_in_steps
    def stream_run(
        self,
        run_dir: PathLike,
        *,
        max_batch_size: int | None = None,
        avoid: PathLike | None = None,
        callback: ProgressCallback | None = None,
    ) -> Iterator[AudioBlock]:
        """Continue a run as `resume_run` does, and yield the audio of its current step in blocks, as `stream` does.

        They begin with the first block of the first level of the step, also if it was yielded before an interruption.
        """
        with self._resumed(run_dir, max_batch_size, avoid) as (run, state):
            yield from self.iter_levels(state, run, callback)

    @contextmanager
    def _resumed(
        self, run_dir: PathLike, max_batch_size: int | None, avoid: PathLike | None
    ) -> Iterator[tuple[JukeboxRun | None, SamplingState]]:
        """Open a run and load its state, for all processes."""
        folder = user_path(run_dir)
        with JukeboxRun.open_shared(lambda: JukeboxRun.open_for_writing(folder)) as run:

            def load_state() -> SamplingState:
                assert run is not None  # the main process sees the folder
                model = self.model_record()
                check_model(run.step.model, model.parts, run.folder)
                check_adapters(run.step.model, model, run.folder)
                check_blocks(run.step.model, model, run.folder)
                warn_of_other_bits(run.step.model, model, run.folder)
                levels_to_sample(self.hierarchy, run.request.levels)
                state = run.load_state(self.hierarchy)
                state.request = moved_avoidance(state.request, avoid, folder)
                if max_batch_size is not None:
                    limit = at_least_one("max_batch_size", max_batch_size)
                    state.request = replace(state.request, max_batch_size=limit)
                return state

            yield run, on_main_process(load_state)

    @sampling
    def continue_run(
        self,
        run_dir: PathLike,
        audio_length_in_s: float,
        *,
        levels: int | Sequence[int] | None = None,
        num_waveforms_per_prompt: int = 1,
        output_type: OutputType = "np",
        callback: ProgressCallback | None = None,
        on_audio: AudioCallback | None = None,
        **overrides: Unpack[StepOverrides],
    ) -> JukeboxPipelineOutput:
        """Extend a finished run, in its own folder; if it is interrupted, continue it with `resume_run`.

        Args:
            run_dir: The `output_dir` of the run.
            audio_length_in_s: Length of the whole result, the finished part included.
            levels: Levels to sample; those that the run has sampled by default.
            num_waveforms_per_prompt: Candidates per song; see `pick_candidate`.
            overrides: Settings to change from here on; they are recorded in the run: `artist`, `genre`, `lyrics`,
                `total_length_in_s`, `temperature`, `top_k`, `top_p`, `hop_fraction`, `generator`, `max_batch_size`.

        Raises:
            ValueError, OSError: the run is unfinished, already at least that long, made with another VQ-VAE, or locked.
        """
        check_options(overrides, StepOverrides)
        check_output_type(output_type)

        def step(run: JukeboxRun) -> RunStep:
            model, candidates = self._model_for(run), num_waveforms_per_prompt
            return continued(run, self.hierarchy, model, audio_length_in_s, levels, candidates, overrides)

        return self._next_step(run_dir, step, overrides, callback, output_type, on_audio)

    @sampling
    def upsample_run(
        self,
        run_dir: PathLike,
        *,
        output_type: OutputType = "np",
        callback: ProgressCallback | None = None,
        on_audio: AudioCallback | None = None,
        **overrides: Unpack[StepOverrides],
    ) -> JukeboxPipelineOutput:
        """Sample the levels below those of a finished run, in its own folder; see `continue_run` for the arguments.

        Raises:
            ValueError, OSError: the run is unfinished, has all levels, was made with another VQ-VAE, or is locked.
        """
        check_options(overrides, StepOverrides)
        check_output_type(output_type)

        def step(run: JukeboxRun) -> RunStep:
            return upsampled(run, self.hierarchy, self._model_for(run), overrides)

        return self._next_step(run_dir, step, overrides, callback, output_type, on_audio)

    @staticmethod
    def pick_candidate(run_dir: str | os.PathLike[str], number: int) -> None:
        """Keep one candidate of a run; see [`pick_candidate`], which needs no pipeline."""
        pick_candidate(run_dir, number)

    @sampling
    def sample_songs(
        self,
        songs: Sequence[SongRequest],
        output_dir: PathLike,
        *,
        num_waveforms_per_prompt: int = 1,
        output_type: OutputType = "np",
        callback: ProgressCallback | None = None,
        on_audio: AudioCallback | None = None,
        **options: Unpack[SamplingOptions],
    ) -> JukeboxPipelineOutput:
        """Sample several songs, each with its own labels, prompt, seed and lengths, as one batch.

        The batch is a run in `output_dir`, and each song gets a run folder of its own there as its levels finish. All
        are sampled to the length of the longest and cut to their own; in the result they are silent from there on.

        Args:
            songs: Songs to sample; [`read_songs`] reads them from a file.
            output_dir: A folder that holds no run, and none in the folders of these songs.
            num_waveforms_per_prompt: Candidates per song.
            options: As in `__call__`: `temperature`, `top_k`, `top_p`, `hop_fraction`, `levels`, `upsampling`,
                `max_batch_size`.

        Raises:
            ValueError, OSError: a song cannot be sampled; the message says what to change.
        """
        check_options(options)
        check_output_type(output_type)
        check_names(songs, "`songs`")
        folder = checked_run_folder(output_dir, [song.name for song in songs])
        hierarchy, candidates = self.hierarchy, at_least_one("num_waveforms_per_prompt", num_waveforms_per_prompt)
        lengths = [top_codes(hierarchy, song.seconds, 0) for song in songs]
        prompts = [self.read_prompts(song.prompt, None, song.prompt_seconds) or [NO_PROMPT] for song in songs]
        for prompt, length in zip(prompts, lengths, strict=True):
            cut_prompts(prompt, hierarchy, length)  # to the song's own length, which may be less than the batch's
        arguments: SongArguments = {
            "artist": [song.artist for song in songs],
            "genre": [song.genre for song in songs],
            "lyrics": [song.lyrics for song in songs],
            "total_length_in_s": [song.total_seconds for song in songs],
            "offset_in_s": [song.offset_seconds for song in songs],
        }
        # The candidates of a song take their seeds from its generator in turn.
        generators = [source for song in songs for source in [song.generator()] * candidates]
        longest = max(lengths) * hierarchy.top_hop / self.sampling_rate
        song_folders = [
            SongFolder(song.name, row * candidates, (row + 1) * candidates - 1, length, song.title or "")
            for row, (song, length) in enumerate(zip(songs, lengths, strict=True))
        ]

        def prepare() -> SamplingState:
            firsts = [prompt for (prompt,) in prompts]
            return self.prepare(longest, arguments, options, generators, candidates, firsts, kept_lengths=lengths)

        state = on_main_process(prepare)
        with self.new_run(folder, state, song_folders) as run:
            return self.sample_levels(state, run, callback, output_type, on_audio)

    def _next_step(
        self,
        run_dir: PathLike,
        step: Callable[[JukeboxRun], RunStep],
        overrides: StepOverrides,
        callback: ProgressCallback | None,
        output_type: OutputType,
        on_audio: AudioCallback | None,
    ) -> JukeboxPipelineOutput:
        folder = user_path(run_dir)
        with JukeboxRun.open_shared(lambda: JukeboxRun.open_for_writing(folder)) as run:

            def start() -> tuple[list[RunStep], SamplingState]:
                assert run is not None  # the main process sees the folder
                state = run.start_checked_step(step(run), self.hierarchy)
                self.warn_of_labels(run.request.levels, overrides)
                return run.steps, state

            steps, state = on_main_process(start)
            if run is not None:
                run.set_steps(steps)
            return self.sample_levels(state, run, callback, output_type, on_audio)

    def _model_for(self, run: JukeboxRun) -> ModelRecord:
        """Return the record of this model for the next step of a run; its priors may be others, its VQ-VAE may not."""
        model = self.model_record()
        check_model(run.step.model, {"vqvae": model.parts["vqvae"]}, run.folder)
        return model
