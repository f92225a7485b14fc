"""Steps shared by all ways of sampling: prepare the state, then sample and decode its levels."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from .audio.prompts import Audio, Prompt, read_prompts
from .catalogue.folder import AnyCatalogue, open_catalogue
from .files.text import user_path
from .hierarchy import encoder_fingerprint
from .loading.compile_cache import use_compile_cache
from .loading.sources import PathLike
from .pipeline_output import JukeboxPipelineOutput, Waveforms
from .pipeline_parts import JukeboxParts
from .runs.folder import JukeboxRun, check_no_run
from .runs.record import ModelRecord, RunStep, SongFolder
from .runs.run_page import update_page
from .sampler import CodeSampler, ProgressCallback
from .sampling.arguments import SongArguments, label_remark, make_request
from .sampling.avoiding import Avoidance
from .sampling.decode import AudioBlock, SongDecoder
from .sampling.known import KnownCodes, check_codes, cut_prompts, encode_prompts
from .sampling.options import SamplingOptions
from .sampling.processes import on_main_process
from .sampling.request import Seeds, top_codes
from .sampling.state import SamplingState
from .sampling.step_runner import StepRunner

OutputType = Literal["np", "pt", "latent"]
AudioCallback = Callable[[AudioBlock], object]
"""Called with each block of audio, as soon as it is final."""

_INTERVAL_IN_S = 0.05  # of music, between two looks for audio that is final


class JukeboxSampling(JukeboxParts):
    """The part of [`JukeboxPipeline`] that prepares a state, samples its levels and decodes them."""

    _steps: StepRunner | None = None

    def compile(self) -> None:
        """Compile the decode step when it is first needed, once per level, batch size and filters (`top_k`, `top_p`).

        Compiling takes some seconds, the first time on a CPU some more. The next start of a program finds the
        compiled code in the Hugging Face cache, if model, settings, PyTorch, processor and device are the same. On a
        CPU it needs a C++ compiler. Call it again after changing a prior.
        """
        use_compile_cache(self.execution_device)
        self._steps = StepRunner(compiled=True)

    def model_record(self) -> ModelRecord:
        """Return the record of this model for a run."""
        return replace(super().model_record(), is_compiled=self._steps is not None and self._steps.compiled)

    def read_prompts(
        self, audio: Audio | None, sampling_rate: int | None, prompt_length_in_s: float | None
    ) -> list[Prompt] | None:
        """Read prompts at the model's rate, cut to `prompt_length_in_s`; None without `audio`."""
        if audio is None:
            return None
        hierarchy = self.hierarchy
        limit = hierarchy.top_window // 2
        if prompt_length_in_s is not None:
            limit = hierarchy.samples("prompt_length_in_s", prompt_length_in_s)
            if limit < hierarchy.top_hop:
                raise ValueError(
                    f"`prompt_length_in_s` is {prompt_length_in_s}, but one top-level code takes "
                    f"{hierarchy.top_hop / self.sampling_rate:.4f} s; use a larger one, or leave `audio` out."
                )
        return read_prompts(audio, sampling_rate=sampling_rate, model_rate=self.sampling_rate, limit=limit)

    def prepare(
        self,
        audio_length_in_s: float | None,
        songs: SongArguments,
        options: SamplingOptions,
        generator: Seeds = None,
        num_waveforms_per_prompt: int = 1,
        prompts: list[Prompt] | None = None,
        codes: Sequence[torch.Tensor | None] | None = None,
        kept_lengths: Sequence[int] | None = None,
    ) -> SamplingState:
        """Resolve the arguments to a request and encode the prompts."""
        hierarchy = self.hierarchy
        catalogue = self.open_avoided(options.get("avoid"))
        known_top = 0 if not codes or codes[-1] is None else codes[-1].shape[-1]
        length = top_codes(hierarchy, audio_length_in_s, known_top)
        known: list[KnownCodes] | None = None
        if prompts is not None:
            prompts = cut_prompts(prompts, hierarchy, length)
        elif codes is not None:
            known = check_codes(codes, hierarchy, length)
        request = make_request(
            hierarchy,
            length,
            songs,
            options,
            generator=generator,
            num_waveforms_per_prompt=num_waveforms_per_prompt,
            prompts=prompts,
            known=known,
            kept_lengths=kept_lengths,
            catalogue=catalogue,
        )
        self.warn_of_labels(request.levels, songs)
        if prompts is not None:
            self.load_part(self.vqvae)
            known = encode_prompts(self.vqvae, prompts, self.execution_device)
        elif known is None:
            known = check_codes([None] * hierarchy.num_levels, hierarchy, length)
        repeated = [level_codes.repeat_for(len(request.songs)) for level_codes in known]
        return SamplingState.begin(request, repeated, hierarchy)

    @contextmanager
    def new_run(
        self, folder: Path | None, state: SamplingState, song_folders: Sequence[SongFolder] = ()
    ) -> Iterator[JukeboxRun | None]:
        """Create the run of a state, for all processes; None without a folder."""
        if folder is None:
            yield None
            return
        num_given = [level_codes.num_given for level_codes in state.levels]
        songs = range(len(state.request.songs))

        def first_step() -> RunStep:
            return RunStep.now("sample", state.request, num_given, songs, self.model_record(), song_folders)

        with JukeboxRun.open_shared(lambda: JukeboxRun.create(folder, first_step(), state)) as run:
            yield run

    def sample_levels(
        self,
        state: SamplingState,
        run: JukeboxRun | None,
        callback: ProgressCallback | None,
        output_type: OutputType,
        on_audio: AudioCallback | None = None,
    ) -> JukeboxPipelineOutput:
        """Sample the missing codes of each level, from the top down, and decode each level."""
        with closing(self.iter_levels(state, run, callback, output_type, is_streamed=on_audio is not None)) as blocks:
            while True:
                try:
                    block = next(blocks)
                except StopIteration as end:
                    return end.value
                if on_audio is not None:
                    on_audio(block)

    def iter_levels(
        self,
        state: SamplingState,
        run: JukeboxRun | None,
        callback: ProgressCallback | None,
        output_type: OutputType = "latent",
        is_streamed: bool = True,
    ) -> Generator[AudioBlock, None, JukeboxPipelineOutput]:
        """Sample the missing codes of each level, from the top down, and yield its audio as soon as it is final.

        Each level is also decoded at its end: to the files of the run, and to the output that the generator returns.
        """
        catalogue = None if state.request.avoid is None else self.open_recorded(state.request.avoid)
        sampler = CodeSampler(self, self._steps or StepRunner(), catalogue=catalogue)
        audios: list[Waveforms | None] = [None] * len(state.levels)
        for level in state.request.levels:
            decoders = self._song_decoders(state, level, run) if is_streamed else []
            if not state.levels[level].is_finished:
                yield from self._sample_level(sampler, state, level, run, callback, decoders)
            if run is not None and state.levels[level].is_finished:
                run.forget_snapshots(level)
            if decoders:
                self.load_part(self.vqvae)
                yield from chain.from_iterable(decoders)
            audio = self._decode_level(state, level, run, output_type != "latent")
            if audio is not None:
                audios[level] = audio.numpy() if output_type == "np" else audio
            if run is not None and run.is_owner:
                update_page(run, self.priors[-1], self.tokenizer, self.load_part)
            if not state.levels[level].is_finished:  # the callback stopped it
                break
        self.unload_parts()
        finest = next((audio for audio in audios if audio is not None), None)
        codes = [level_codes.common_prefix for level_codes in state.levels]
        avoided = None if catalogue is None else [level_codes.avoided for level_codes in state.levels]
        return JukeboxPipelineOutput(finest, self.sampling_rate, codes, audios, avoided)

    def open_avoided(self, avoid: PathLike | None) -> AnyCatalogue | None:
        """Open a catalogue of codes of this pipeline's VQ-VAE; None for None.

        Raises:
            OSError, ValueError: there is none, it is damaged, or another VQ-VAE made its codes.
        """
        if avoid is None:
            return None
        catalogue = open_catalogue(avoid)
        catalogue.check_fingerprint(encoder_fingerprint(self.vqvae))
        return catalogue

    def open_recorded(self, avoid: Avoidance) -> AnyCatalogue:
        """Open the catalogue that a run avoids.

        Raises:
            OSError, ValueError: it is no longer there, or has changed.
        """
        if not Path(avoid.catalogue).is_dir():
            raise FileNotFoundError(
                f"The run avoids the catalogue {avoid.catalogue}, which is not there; name its place with `avoid`."
            )
        catalogue = self.open_avoided(avoid.catalogue)
        assert catalogue is not None
        if catalogue.digest != avoid.digest:
            raise ValueError(
                f"{avoid.catalogue} is not the catalogue that the run avoids; name the place of that one with `avoid`."
            )
        return catalogue

    def _sample_level(
        self,
        sampler: CodeSampler,
        state: SamplingState,
        level: int,
        run: JukeboxRun | None,
        callback: ProgressCallback | None,
        decoders: Sequence[SongDecoder],
    ) -> Iterator[AudioBlock]:
        """Sample the missing codes of a level, and yield its audio as soon as it is final."""
        hop = self.vqvae.config.hop_lengths[level]
        interval = max(round(_INTERVAL_IN_S * self.sampling_rate / hop), 1)
        for count, scheduler in enumerate(sampler.iter_level(state, level, run, callback)):
            if count % interval:
                continue
            due = [decoder for decoder in decoders if decoder.is_due(scheduler.num_filled_in(decoder.song))]
            if due:
                self.load_beside(self.vqvae)
                scheduler.sync_to_state()
                yield from chain.from_iterable(due)

    def _song_decoders(self, state: SamplingState, level: int, run: JukeboxRun | None) -> list[SongDecoder]:
        """Return one decoder per song, each for the length that the song has when it is finished."""
        level_codes = state.levels[level]
        lengths = [
            level_codes.length if run is None else run.song_length(song, level)
            for song in range(len(state.request.songs))
        ]
        device = self.execution_device
        return [
            SongDecoder(self.vqvae, level_codes, level, song, length, device) for song, length in enumerate(lengths)
        ]

    def warn_of_labels(self, levels: Sequence[int], labels: Mapping[str, Any]) -> None:
        """Warn of labels that the levels to sample cannot use."""
        given = {name: labels.get(name) for name in ("artist", "genre", "lyrics")}
        if remark := label_remark(self.hierarchy, levels, **given):
            warnings.warn(remark, UserWarning, stacklevel=3)

    def _decode_level(
        self, state: SamplingState, level: int, run: JukeboxRun | None, is_returned: bool
    ) -> torch.Tensor | None:
        """Decode a level: write the files that a run lacks, and return the audio `[N, T]` on the CPU if wanted.

        A song that is shorter than the batch is silent from its end on.
        """
        level_codes, hop = state.levels[level], self.vqvae.config.hop_lengths[level]
        writer = run if run is not None and run.is_owner and level_codes.is_finished else None
        missing = set() if writer is None else set(writer.audio_to_write(level))
        num_songs, length = level_codes.common_prefix.shape
        audio = torch.zeros(num_songs, length * hop, dtype=torch.float32, device="cpu") if is_returned else None
        if missing or is_returned:
            self.load_part(self.vqvae)
        for song in range(num_songs) if is_returned else sorted(missing):
            if run is not None:
                length = min(level_codes.common_prefix.shape[1], run.song_length(song, level))
            decoder = SongDecoder(self.vqvae, level_codes, level, song, length, self.execution_device)
            blocks: Iterator[np.ndarray] = (block.samples for block in decoder)
            if audio is not None:
                blocks = _copied(blocks, audio[song].numpy())
            if writer is not None and song in missing:
                writer.write_audio(level, song, blocks)
            deque(blocks, maxlen=0)  # those that were not written
        if writer is not None:
            writer.write_song_folders(state)
        return audio


def check_options(options: Mapping[str, Any], known: type = SamplingOptions) -> None:
    """Check that options are fields of `known`.

    Raises:
        TypeError: one is not.
    """
    unknown = sorted(set(options) - set(known.__annotations__))
    if unknown:
        raise TypeError(f"JukeboxPipeline got an unexpected keyword argument {unknown[0]!r}")


def check_output_type(output_type: str) -> None:
    """Check the type of output, before anything is read.

    Raises:
        ValueError: it is unknown.
    """
    if output_type not in get_args(OutputType):
        raise ValueError(f"`output_type` must be 'np', 'pt' or 'latent', not {output_type!r}.")


def checked_run_folder(output_dir: PathLike | None, song_names: Sequence[str] = ()) -> Path | None:
    """Return the folder for a new run, on every process.

    Args:
        song_names: Names of the folders of songs in it.

    Raises:
        FileExistsError: it, or the folder of a song, already holds a run.
    """
    if output_dir is None:
        return None
    folder = user_path(output_dir)
    # Before another process may see the run that the main one creates.
    on_main_process(lambda: check_no_run(folder, song_names))
    return folder


def _copied(blocks: Iterator[np.ndarray], target: np.ndarray) -> Iterator[np.ndarray]:
    """Yield blocks `[t]`, and copy them into `target` `[T]` one after the other."""
    done = 0
    for block in blocks:
        target[done : done + len(block)] = block
        done += len(block)
        yield block
