"""The audio of the run in progress, as far as it is decoded: a file per level and song that grows."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..audio import to_pcm
from ..sampling.decode import AudioBlock


@dataclass
class GrowingAudio:
    """16-bit samples of a level of a song, in a file that grows.

    Attributes:
        path: The file, without a header.
        num_samples: Samples in it.
        is_growing: False once no more will come.
    """

    path: Path
    file: BinaryIO
    num_samples: int = 0
    is_growing: bool = True


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
        samples = to_pcm(block.samples).astype("<i2")
        audio.file.write(samples.tobytes())
        audio.file.flush()
        audio.num_samples += len(samples)
        audio.is_growing = not block.is_last

    def end(self) -> None:
        """Close the files: nothing more will come. They can be read until the next run begins."""
        with self._lock:
            for audio in self._files.values():
                audio.file.close()
                audio.is_growing = False

    def get(self, run_id: str, level: int, song: int) -> GrowingAudio | None:
        """Return the growing audio of a song; None if there is none."""
        with self._lock:
            return self._files.get((level, song)) if run_id == self._run_id else None
