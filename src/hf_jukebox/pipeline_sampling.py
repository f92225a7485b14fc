"""What every way to sample has in common: prompts read and encoded, codes drawn level by level, and decoded."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch

from .audio.prompts import Audio, Prompt, read_prompts
from .loading.sources import PathLike
from .pipeline_output import JukeboxPipelineOutput, Waveforms
from .pipeline_parts import JukeboxParts
from .runs.folder import JukeboxRun, check_free
from .runs.record import RunStep, SongFolder
from .runs.run_page import update_page
from .sampler import Callback, CodeSampler
from .sampling.arguments import Arguments, label_remark
from .sampling.batch import SampleCode, sample_code
from .sampling.compiled import StepCompiler
from .sampling.known import KnownCodes, check_codes, cut_prompts, encode_prompts
from .sampling.processes import on_main_process
from .sampling.request import top_codes
from .sampling.state import SamplingState

OutputType = Literal["np", "pt", "latent"]


class JukeboxSampling(JukeboxParts):
    """A piece from what is asked for, and its codes and audio from the models."""

    _sample_code: SampleCode = staticmethod(sample_code)

    def compile(self) -> None:
        """Compile the decode step when it is first needed, once a level, batch size and settings.

        That takes a minute or more each time, and pays from some thousand codes on. On a CPU it needs a C++ compiler,
        and with several songs it keeps a second copy of the weights. Call it again after changing a prior.
        """
        self._sample_code = StepCompiler()

    def _new_piece(
        self,
        arguments: Arguments,
        audio_length_in_s: float | None,
        prompts: list[Prompt] | None,
        codes: Sequence[torch.Tensor | None] | None,
    ) -> SamplingState:
        """What a call asks for, decided, with the codes that exist."""
        hierarchy = self.hierarchy
        known_top = 0 if not codes or codes[-1] is None else codes[-1].shape[-1]
        length = top_codes(hierarchy, audio_length_in_s, known_top)
        known: list[KnownCodes] | None = None
        if prompts is not None:
            prompts = cut_prompts(prompts, hierarchy, length)
        elif codes is not None:
            known = check_codes(codes, hierarchy, length)
        request = arguments.request(hierarchy, length, prompts, known)
        labels = {"artist": arguments.artist, "genre": arguments.genre, "lyrics": arguments.lyrics}
        self._warn_of_labels(request.levels, labels)
        if prompts is not None:
            self._place(self.vqvae)
            known = encode_prompts(self.vqvae, prompts, self._execution_device)
        elif known is None:
            known = check_codes([None] * hierarchy.num_levels, hierarchy, length)
        return SamplingState.begin(request, [of_level.for_songs(len(request.songs)) for of_level in known], hierarchy)

    def _draw(
        self, piece: SamplingState, run: JukeboxRun | None, callback: Callback | None, output_type: OutputType
    ) -> JukeboxPipelineOutput:
        """Draw what a piece lacks, and decode it."""
        drawer = CodeSampler(
            self.vqvae,
            self.priors,
            self.tokenizer,
            self._execution_device,
            self._place,
            self._progress_bar_of,
            self._sample_code,
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

    def _first_step(self, piece: SamplingState, folders: Sequence[SongFolder] = ()) -> RunStep:
        known = [of_level.known for of_level in piece.levels]
        songs = range(len(piece.request.songs))
        return RunStep.now("sample", piece.request, known, songs, self._model_record(), folders)

    def _warn_of_labels(self, levels: Sequence[int], labels: Mapping[str, Any]) -> None:
        if remark := label_remark(self.hierarchy, levels, **labels):
            warnings.warn(remark, UserWarning, stacklevel=3)

    def _progress_bar_of(self, total: int) -> Any:
        return self.progress_bar(total=total)

    def _read_prompts(
        self, audio: Audio | None, sampling_rate: int | None, prompt_length_in_s: float | None
    ) -> list[Prompt] | None:
        """Prompts at the model's rate, at most as long as asked for."""
        if audio is None:
            return None
        hierarchy = self.hierarchy
        limit = hierarchy.top_window // 2
        if prompt_length_in_s is not None:
            limit = hierarchy.samples("prompt_length_in_s", prompt_length_in_s)
            if limit < hierarchy.top_hop:
                raise ValueError(
                    f"prompt_length_in_s is {prompt_length_in_s}, but one top-level code takes "
                    f"{hierarchy.top_hop / self.sampling_rate:.4f} s; use a larger one, or leave audio out."
                )
        return read_prompts(audio, sampling_rate=sampling_rate, model_rate=self.sampling_rate, limit=limit)


def check_output_type(output_type: str) -> None:
    """Refuse a kind of output that there is not.

    Raises:
        ValueError: it is another one.
    """
    if output_type not in get_args(OutputType):
        raise ValueError(f"output_type must be 'np', 'pt' or 'latent', not {output_type!r}.")


def check_no_run(folder: PathLike) -> None:
    """Refuse a folder that holds a run, in all processes.

    Raises:
        FileExistsError: it holds one.
    """
    on_main_process(lambda: check_free(folder))  # before another process may see the run that the first one begins
