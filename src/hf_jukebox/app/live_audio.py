"""The audio of the run in progress, as far as it is decoded: a file per level and song that grows."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..audio import to_pcm
from ..sampling.decode import AudioBlock


@dataclass
class GrowingAudio:
    """16-bit samples of a level of a song, in a file that grows.

    Attributes:
        path: The file, without a header.
        total: Samples that it will have; None for those of the whole song, unless the run is stopped before.
        num_samples: Samples in it.
        is_growing: False once no more will come.
    """

    path: Path
    file: BinaryIO
    total: int | None = None
    num_samples: int = 0
    is_growing: bool = True

    def append(self, samples: np.ndarray) -> None:
        """Append float samples `[t]`."""
        self.file.write(to_pcm(samples).astype("<i2").tobytes())
        self.file.flush()
        self.num_samples += len(samples)

    def end(self) -> None:
        """Close the file: no more will come."""
        self.file.close()
        self.is_growing = False


class LiveAudio:
    """Growing files of one run at a time.

    Args:
        folder: Folder of the files, which is emptied.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._run_id = ""
        self._files: dict[tuple[int, int], GrowingAudio] = {}
        shutil.rmtree(folder, ignore_errors=True)

    def begin(self, run_id: str) -> None:
        """Drop the files of the run before, and take those of another."""
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        with self._lock:
            self._run_id, self._files = run_id, {}

    def write(self, block: AudioBlock) -> None:
        """Append a block; the first of a song at a level begins its file anew."""
        key = block.level, block.song
        with self._lock:
            audio = self._files.get(key)
            if audio is None or block.start == 0:
                path = self.folder / f"level_{block.level}_item_{block.song}.pcm"
                path.unlink(missing_ok=True)
                audio = self._files[key] = GrowingAudio(path, path.open("wb"))
        audio.append(block.samples)
        audio.is_growing = not block.is_last

    def end(self) -> None:
        """Close the files: nothing more will come. They can be read until the next run begins."""
        with self._lock:
            for audio in self._files.values():
                audio.end()

    def get(self, run_id: str, level: int, song: int) -> GrowingAudio | None:
        """Return the growing audio of a song; None if there is none."""
        with self._lock:
            return self._files.get((level, song)) if run_id == self._run_id else None
