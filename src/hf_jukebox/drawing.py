"""Drawing a piece with its models: level after level, kept in its folder, and decoded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .modeling_prior import JukeboxPrior
from .modeling_vqvae import JukeboxVQVAE
from .runs.checkpoints import Checkpoints
from .runs.folder import JukeboxRun
from .runs.memory import fitting_batch_size
from .sampling.level import DrawCode, Snapshot, draw_code
from .sampling.parallel import ParallelDrawing, Seam, fade_seams
from .sampling.piece import LabelsOf, LevelDrawing, Piece
from .sampling.processes import from_all, this_process
from .sampling.request import Song
from .tokenization_jukebox import JukeboxTokenizer

logger = logging.getLogger(__name__)

_FADE = 0.02  # seconds, at the seams of parallel upsampling


@dataclass(frozen=True)
class SamplingProgress:
    """How far a run is, after a code has been drawn.

    Args:
        level: The level that is being drawn.
        done: Codes that each of `songs` has at this level.
        total: Codes that it will have.
        songs: The songs of the batch that are being drawn.
        codes_per_second: Codes of this level in a second of music.
        level_drawn, level_to_draw: Codes of all songs that this call has drawn at this level, and will have at its end.
        drawn, to_draw: The same for all levels together.
    """

    level: int
    done: int
    total: int
    songs: range
    codes_per_second: float
    level_drawn: int
    level_to_draw: int
    drawn: int
    to_draw: int


Callback = Callable[[SamplingProgress], bool | None]


@dataclass
class Drawer:
    """The parts of a pipeline on their device.

    Args:
        place: Brings a part to the device when it is offloaded.
        progress_bar: Makes the bar of a level from its number of codes.
        draw_code: Draws one code; a `StepCompiler` draws it compiled.
    """

    vqvae: JukeboxVQVAE
    priors: Sequence[JukeboxPrior | None]
    tokenizer: JukeboxTokenizer | None
    device: torch.device
    place: Callable[[torch.nn.Module], None]
    progress_bar: Callable[[int], Any]
    draw_code: DrawCode = draw_code
    _seams: dict[tuple[int, int], list[Seam]] = field(default_factory=dict)  # by level and song, of parallel levels

    def draw(self, piece: Piece, run: JukeboxRun | None = None, callback: Callback | None = None) -> Iterator[int]:
        """Draw what a piece lacks, from the top down; yields each level when it is done, or stopped by the callback.

        With a `run`, the codes and the windows in progress are kept in its folder every few seconds and when the
        drawing ends, however it ends, and each finished level is written as audio.
        """
        to_draw = piece.left
        for level in piece.request.levels:
            if not piece.levels[level].is_finished:
                self._draw_level(piece, level, to_draw, run, callback)
            stopped = not piece.levels[level].is_finished
            if run is not None and not stopped:
                self._keep_audio(piece, level, run)
            yield level
            if stopped:
                return

    def decode(self, piece: Piece, level: int) -> torch.Tensor:
        """The audio of what all songs have of a level, `[N, T]` on the CPU."""
        self.place(self.vqvae)
        codes, hop = piece.levels[level].existing, self.vqvae.config.hop_lengths[level]
        audio = torch.zeros(codes.shape[0], codes.shape[1] * hop)
        for song, of_song in enumerate(codes):
            done = 0
            for block in self._decode_song(of_song, level, song):
                audio[song, done : done + len(block)] = block
                done += len(block)
        return audio

    def _draw_level(
        self, piece: Piece, level: int, to_draw: int, run: JukeboxRun | None, callback: Callback | None
    ) -> None:
        prior, of_level = self.priors[level], piece.levels[level]
        if prior is None:
            raise ValueError(f"Level {level} has no prior in this pipeline.")
        self.place(prior)
        self._fit_into_memory(piece, prior, of_level.total)
        labels_of = self._labels_of(prior) if prior.config.has_labels else None
        started = None if run is None else run.snapshots(level)
        drawing = self._drawing(prior, piece, level, labels_of, started)
        checkpoints = Checkpoints()
        rate = self.vqvae.config.sampling_rate / self.vqvae.config.hop_lengths[level]
        drawn, in_level = 0, of_level.left
        before = to_draw - piece.left
        with self.progress_bar(in_level) as bar:
            bar.set_description(f"level {level}")
            bar.unit = " codes"
            try:
                for songs in drawing:
                    done = drawing.filled
                    drawn += drawing.new
                    bar.update(drawing.new)
                    if run is not None and checkpoints.is_due:
                        with checkpoints.writing():
                            self._keep_codes(drawing, run)
                    if callback is None:
                        continue
                    figures = (level, done, of_level.total, songs, rate, drawn, in_level, before + drawn, to_draw)
                    if callback(SamplingProgress(*figures)) is False:
                        break
            finally:
                self._keep_codes(drawing, run)

        self._gather(drawing)
        if run is not None:
            self._keep_codes(drawing, run)

    def _drawing(
        self,
        prior: JukeboxPrior,
        piece: Piece,
        level: int,
        labels_of: LabelsOf | None,
        started: Mapping[range, Snapshot] | None,
    ) -> LevelDrawing | ParallelDrawing:
        if piece.request.upsampling == "sequential" or not prior.config.is_upsampler:
            return LevelDrawing(
                prior, piece, level, self.device, labels_of, started, self.draw_code, share=this_process()
            )
        length = min(prior.config.n_ctx, piece.levels[level].total)
        size = piece.request.segments_at_a_time or fitting_batch_size(prior, length, self.device)
        return ParallelDrawing(prior, piece, level, self.device, labels_of, size, self.draw_code, share=this_process())

    def _gather(self, drawing: LevelDrawing | ParallelDrawing) -> None:
        """Bring what all processes have drawn of a level to each of them."""
        of_level = drawing.piece.levels[drawing.level]
        if isinstance(drawing, ParallelDrawing):
            for windows in from_all(drawing.windows):
                drawing.add(windows)
            for song in range(len(of_level.filled)):
                self._seams[drawing.level, song] = drawing.seams(song)
            return
        for codes, filled in from_all((of_level.codes, of_level.filled)):
            for song, count in enumerate(filled):
                if count > of_level.filled[song]:
                    of_level.codes[song], of_level.filled[song] = codes[song], count

    def _keep_codes(self, drawing: LevelDrawing | ParallelDrawing, run: JukeboxRun | None) -> None:
        drawing.collect()
        if run is not None:
            snapshots = drawing.snapshots() if isinstance(drawing, LevelDrawing) else {}
            run.save(drawing.level, drawing.piece.levels[drawing.level], snapshots)

    def _keep_audio(self, piece: Piece, level: int, run: JukeboxRun) -> None:
        missing = run.missing_audio(level)
        if missing:
            self.place(self.vqvae)
        for song in missing:
            codes = piece.levels[level].codes[song]
            length = run.song_length(song) * len(codes) // piece.request.top_codes
            blocks = (block.numpy() for block in self._decode_song(codes[:length], level, song))
            run.write_audio(level, song, blocks)
        run.write_song_folders(piece)

    def _decode_song(self, codes: torch.Tensor, level: int, song: int) -> Iterator[torch.Tensor]:
        """The audio of one song's codes `[T_level]`, in blocks `[t]` on the CPU."""
        seams = [seam for seam in self._seams.get((level, song), []) if seam.position < len(codes)]
        blocks = self._decode_codes(codes, level)
        if seams:
            hop = self.vqvae.config.hop_lengths[level]
            audio = torch.cat(list(blocks))
            fade = round(_FADE * self.vqvae.config.sampling_rate / hop)
            fade_seams(audio, codes, seams, lambda of: torch.cat(list(self._decode_codes(of, level))), hop, fade)
            blocks = iter([audio])
        for block in blocks:
            yield block.clamp(-1, 1)

    def _decode_codes(self, codes: torch.Tensor, level: int) -> Iterator[torch.Tensor]:
        for block in self.vqvae.iter_decode(codes[None].to(self.device), level):
            yield block[0].float().cpu()

    def _fit_into_memory(self, piece: Piece, prior: JukeboxPrior, total: int) -> None:
        """Draw fewer songs at a time where more are not likely to fit."""
        # On several processes each draws its share of the songs.
        songs = min(piece.batch_size, -(-len(piece.request.songs) // this_process()[1]))
        piece.batch_size = songs
        fitting = fitting_batch_size(prior, total, self.device)
        if fitting < songs:
            logger.warning("%d songs at a time do not fit into the free memory; drawing %d at a time.", songs, fitting)
            piece.batch_size = fitting

    def _labels_of(self, prior: JukeboxPrior) -> Callable[[Sequence[Song]], Callable[[int], torch.Tensor]]:
        """The label rows `[B, label_length]` of some songs, by the code at which a window starts."""
        config, tokenizer = prior.config, self.tokenizer
        if tokenizer is None or config.level not in tokenizer.vocabularies:
            raise ValueError(
                f"The prior of level {config.level} has labels, but there are no names for it; give a tokenizer."
            )

        def labels_of(songs: Sequence[Song]) -> Callable[[int], torch.Tensor]:
            def labels_at(start: int) -> torch.Tensor:
                rows = tokenizer(
                    level=config.level,
                    artist=[song.artist for song in songs],
                    genre=[song.genre for song in songs],
                    lyrics=[song.lyrics for song in songs],
                    total_length=[song.total_length for song in songs],
                    offset=[song.offset + start * config.hop_length for song in songs],
                    window_length=config.window_length,
                )
                return rows["labels"].to(self.device)

            return labels_at

        return labels_of
