"""Drawing a piece with its models: level after level, kept in its folder, and decoded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .allocator import is_out_of_memory
from .memory.batch_size import fitting_batch_size
from .modeling_prior import JukeboxPrior
from .modeling_vqvae import JukeboxVQVAE
from .runs.checkpoint_timer import CheckpointTimer
from .runs.folder import JukeboxRun
from .sampling.batch import SampleCode, Snapshot, is_snapshot_of, sample_code
from .sampling.parallel import Seam, fade_seams
from .sampling.processes import all_gather_objects, on_main_process, process_rank
from .sampling.request import SongConditioning
from .sampling.scheduler import LabelsOf, LevelScheduler, Rows
from .sampling.state import SamplingState
from .sampling.windows import Span
from .tokenization_jukebox import JukeboxTokenizer

logger = logging.getLogger(__name__)

_FADE = 0.02  # seconds, at the seams of parallel upsampling


@dataclass(frozen=True)
class SamplingProgress:
    """How far a run is, after a code has been drawn.

    Args:
        level: The level that is being drawn.
        done: Codes that each of `songs` has at this level; in parallel upsampling all segments of a song together.
        total: Codes that it will have.
        songs: The songs of the batch that are being drawn, from the first to the last.
        codes_per_second: Codes of this level in a second of music.
        level_drawn, level_to_draw: Codes of all songs that this call has drawn at this level, and will have at its end;
            with several processes, of this one's share. The warm-up of a segment is spread over what is kept of it.
        drawn, to_draw: The same for all levels together.
    """

    level: int
    done: int
    total: int
    songs: range
    codes_per_second: float
    level_sampled: int
    level_to_sample: int
    drawn: int
    to_sample: int


Callback = Callable[[SamplingProgress], bool | None]


@dataclass
class CodeSampler:
    """The parts of a pipeline on their device.

    Args:
        place: Brings a part to the device when it is offloaded.
        progress_bar: Makes the bar of a level from its number of codes.
        sample_code: Draws one code; a `StepCompiler` draws it compiled.
    """

    vqvae: JukeboxVQVAE
    priors: Sequence[JukeboxPrior | None]
    tokenizer: JukeboxTokenizer | None
    device: torch.device
    place: Callable[[torch.nn.Module], None]
    progress_bar: Callable[[int], Any]
    sample_code: SampleCode = sample_code

    def draw(
        self, piece: SamplingState, run: JukeboxRun | None = None, callback: Callback | None = None
    ) -> Iterator[int]:
        """Draw what a piece lacks, from the top down; yields each level when it is done, or stopped by the callback.

        With a `run`, the codes and the windows in progress are kept in its folder every few seconds and when the
        drawing ends, however it ends, and each finished level is written as audio.
        """
        drawn = 0
        for level in piece.request.levels:
            if not piece.levels[level].is_finished:
                drawn += self._sample_level(piece, level, drawn, run, callback)
            stopped = not piece.levels[level].is_finished
            if run is not None and not stopped:
                run.forget_snapshots(level)
                if run.is_owner:
                    self._keep_audio(piece, level, run)
            yield level
            if stopped:
                return

    def decode(self, piece: SamplingState, level: int) -> torch.Tensor:
        """The audio of what all songs have of a level, `[N, T]` on the CPU."""
        self.place(self.vqvae)
        codes, hop = piece.levels[level].existing, self.vqvae.config.hop_lengths[level]
        audio = torch.zeros(codes.shape[0], codes.shape[1] * hop)
        for song, of_song in enumerate(codes):
            done = 0
            for block in self._decode_song(piece, level, song, of_song):
                audio[song, done : done + len(block)] = block
                done += len(block)
        return audio

    def _sample_level(
        self, piece: SamplingState, level: int, before: int, run: JukeboxRun | None, callback: Callback | None
    ) -> int:
        """Draw what a level lacks; how many codes that were, of all songs, after those drawn `before`."""
        prior, of_level = self.priors[level], piece.levels[level]
        if prior is None:
            raise ValueError(f"Level {level} has no prior in this pipeline.")
        self.place(prior)
        scheduler = self._drawing(prior, piece, level, {} if run is None else run.snapshots(level))
        to_sample = before + scheduler.to_sample + self._left_below(piece, level)
        rate = self.vqvae.config.sampling_rate / self.vqvae.config.hop_lengths[level]
        checkpoints, drawn = CheckpointTimer(), 0
        with self.progress_bar(scheduler.to_sample) as bar:
            bar.set_description(f"level {level}")
            bar.unit = " codes"
            try:
                for songs in scheduler:
                    new, drawn = scheduler.drawn - drawn, scheduler.drawn
                    bar.update(new)
                    if run is not None and checkpoints.is_due:
                        with checkpoints.writing():
                            self._keep_codes(scheduler, run)
                    if callback is None:
                        continue
                    done, of_all = (scheduler.done, of_level.total), (before + drawn, to_sample)
                    progress = SamplingProgress(level, *done, songs, rate, drawn, scheduler.to_sample, *of_all)
                    if callback(progress) is False:
                        break
            finally:
                self._keep_codes(scheduler, run)
        for results in all_gather_objects(scheduler.results()):
            scheduler.add(results)
        if run is not None and run.is_owner:
            self._keep_codes(scheduler, run)
        return drawn

    def _drawing(
        self, prior: JukeboxPrior, piece: SamplingState, level: int, started: dict[Rows, Snapshot]
    ) -> LevelScheduler:
        """The drawing of a level by all processes, each of its share, in groups that are likely to fit into memory."""
        of_level, (number, count) = piece.levels[level], process_rank()
        for rows, snapshot in started.items():
            if not is_snapshot_of(snapshot, prior, len(rows), rows[0].length):
                raise ValueError(
                    f"The run holds a window in progress that does not go with the prior of level {level}; remove the "
                    "files in its folder 'state', and the window is sampled from its start."
                )
        # All agree on what was begun; the windows in progress are read by each.
        begun = on_main_process(lambda: {rows: snapshot.codes for rows, snapshot in started.items()})
        read = {rows: started.get(rows, Snapshot(codes)) for rows, codes in begun.items()}
        spans = piece.spans(level, prior.config)
        size = self._batch_size(piece, prior, [row for row in spans if not of_level.has(row)], count)
        labels_of = self._labels_of(prior) if prior.config.has_labels else None
        return LevelScheduler(
            prior, piece, level, self.device, size, labels_of, read, self.sample_code, share=(number, count)
        )

    def _batch_size(self, piece: SamplingState, prior: JukeboxPrior, rows: list[Span], processes: int) -> int:
        """How many rows to draw at a time: what the request allows, and is likely to fit."""
        limit = piece.max_batch_size
        wanted = -(-len(rows) // processes) if limit is None else min(limit, -(-len(rows) // processes))
        fitting = min(all_gather_objects(fitting_batch_size(prior, rows[0].length, self.device)))
        is_expected = limit is None and len(rows) > len(piece.request.songs)  # segments come by the hundreds
        if fitting < wanted and not is_expected:
            logger.warning("%d songs at a time do not fit into the free memory; drawing %d at a time.", wanted, fitting)
        return min(wanted, fitting)

    def _left_below(self, piece: SamplingState, level: int) -> int:
        """Codes that this process will draw at the levels under one."""
        below = [piece.levels[each] for each in piece.request.levels if each < level]
        return sum(of_level.total - filled for of_level in below for filled in of_level.filled) // process_rank()[1]

    def _keep_codes(self, scheduler: LevelScheduler, run: JukeboxRun | None) -> None:
        """Bring the piece up to date, and write its codes before the windows in progress, which take far more memory.

        Raises:
            MemoryError: there is none left to keep them; the codes are written all the same, and the run can be
                resumed from them.
        """
        scheduler.collect()
        if run is None or scheduler.has_let_go:
            return
        try:
            run.save(scheduler.level, scheduler.piece.levels[scheduler.level], scheduler.snapshots)
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Out here nothing holds on to the tensors of the failed write any more.
        codes = scheduler.let_go()
        run.save(scheduler.level, scheduler.piece.levels[scheduler.level], lambda: codes)
        raise MemoryError(
            f"There is not enough memory to keep what is in progress at level {scheduler.level}; the codes sampled so "
            f"far are in {run.folder}: resume it with a smaller batch, such as --max-batch-size 1."
        )

    def _keep_audio(self, piece: SamplingState, level: int, run: JukeboxRun) -> None:
        missing = run.missing_audio(level)
        if missing:
            self.place(self.vqvae)
        for song in missing:
            codes = piece.levels[level].codes[song]
            length = run.song_length(song) * len(codes) // piece.request.top_codes
            blocks = (block.numpy() for block in self._decode_song(piece, level, song, codes[:length]))
            run.write_audio(level, song, blocks)
        run.write_song_folders(piece)

    def _decode_song(self, piece: SamplingState, level: int, song: int, codes: torch.Tensor) -> Iterator[torch.Tensor]:
        """The audio of the first `codes` `[T_level]` of a song, in blocks `[t]` on the CPU."""
        of_song = sorted(piece.levels[level].seams[song].items())
        seams = [Seam(position, warm_up) for position, warm_up in of_song if position < len(codes)]
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

    def _labels_of(self, prior: JukeboxPrior) -> LabelsOf:
        """Makes the label rows `[B, label_length]` of windows, by their songs and the codes at which they start."""
        config, tokenizer = prior.config, self.tokenizer
        if tokenizer is None or config.level not in tokenizer.vocabularies:
            raise ValueError(
                f"The prior of level {config.level} has labels, but there are no names for it; give a tokenizer."
            )

        def labels_of(songs: Sequence[SongConditioning], starts: Sequence[int]) -> torch.Tensor:
            rows = tokenizer(
                level=config.level,
                artist=[song.artist for song in songs],
                genre=[song.genre for song in songs],
                lyrics=[song.lyrics for song in songs],
                total_length=[song.total_length for song in songs],
                offset=[
                    # What is drawn beyond the end of a song, to the length of a longer one beside it, is cut.
                    min(song.offset + start * config.hop_length, song.total_length - 1)
                    for song, start in zip(songs, starts, strict=True)
                ],
                window_length=config.window_length,
                allow_beyond=True,
            )
            return rows["labels"].to(self.device)

        return labels_of
