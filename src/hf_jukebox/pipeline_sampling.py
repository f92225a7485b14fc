"""What every way to sample has in common: prompts read and encoded, codes drawn level by level, and decoded."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch

from .drawing import Callback, Drawer
from .pipeline_output import JukeboxPipelineOutput, Waveforms
from .pipeline_parts import JukeboxParts
from .pretrained import PathLike
from .prompts import Audio, Prompt, read_prompts
from .runs.folder import JukeboxRun, check_free
from .runs.page import update_page
from .runs.record import SongFolder, Step
from .sampling.arguments import Arguments, label_remark
from .sampling.compiled import StepCompiler
from .sampling.known import KnownCodes, check_codes, cut_prompts, encode_prompts
from .sampling.level import DrawCode, draw_code
from .sampling.piece import Piece
from .sampling.processes import from_first
from .sampling.request import top_codes

OutputType = Literal["np", "pt", "latent"]


class JukeboxSampling(JukeboxParts):
    """A piece from what is asked for, and its codes and audio from the models."""

    _draw_code: DrawCode = staticmethod(draw_code)

    def compile(self) -> None:
        """Compile the decode step when it is first needed, once a level, batch size and settings.

        That takes a minute or more each time, and pays from some thousand codes on. On a CPU it needs a C++ compiler,
        and with several songs it keeps a second copy of the weights. Call it again after changing a prior.
        """
        self._draw_code = StepCompiler()

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
    from_first(lambda: check_free(folder))  # before another process may see the run that the first one begins
