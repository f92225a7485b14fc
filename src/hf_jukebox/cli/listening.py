"""A run heard while it is sampled: played by the sound card, or written to stdout for another program."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO

from ..console.lines import is_first_process, write_error
from .checks import PROGRAM
from .options import ListenOptions
from .progress import ProgressStyle
from .values import MOST_LEVELS

if TYPE_CHECKING:
    import numpy as np

    from ..sampling.decode import AudioBlock

_NO_SOUNDDEVICE = "--play needs the package sounddevice; install it with: pip install sounddevice"


def check_listening(options: ListenOptions, progress: ProgressStyle, levels: Sequence[int] | None = None) -> None:
    """Check that the audio can be heard as the options say, before a model is loaded.

    Args:
        levels: The levels that are sampled, if they are known.

    Raises:
        ValueError: the options contradict each other, or one has no effect.
        OSError: there is no sound card, or no program that reads stdout.
    """
    if options.stream not in (None, "-"):
        raise ValueError(f"--stream takes - for stdout, not {options.stream!r}; the run's folder holds the wav files.")
    if options.stream_format not in (None, "wav", "pcm"):
        raise ValueError(f"--stream-format must be wav or pcm, not {options.stream_format!r}.")
    if options.stream_format is not None and options.stream is None:
        raise ValueError("--stream-format is for --stream -; add that, or leave it out.")
    if options.play_level is not None and not (options.play or options.stream):
        raise ValueError("--play-level is for --play and --stream -; add one of them, or leave it out.")
    if options.play_level is not None and options.play_level not in (range(MOST_LEVELS) if levels is None else levels):
        raise ValueError(f"--play-level {options.play_level} is not among the levels that are sampled; give another.")
    if options.stream is not None and progress is ProgressStyle.JSON:
        raise ValueError("--stream - and --progress json both write to stdout; leave one of them out.")
    if options.play and options.stream is not None:
        raise ValueError("--play and --stream are two ways to hear the run; leave one of them out.")
    if options.stream is not None and (sys.stdout is None or sys.stdout.isatty()):
        raise OSError(f"--stream - writes audio to stdout; pipe it into a player: {PROGRAM} sample --stream - | mpv -")
    if options.play and is_first_process():
        _find_sound_card()


@contextmanager
def listening(options: ListenOptions) -> Iterator[Callable[[AudioBlock], None] | None]:
    """Yield a function that takes the audio of a run, block by block; None if nobody listens.

    The first song is heard, at the level that is sampled first unless the options name another. Sampling does not wait
    for it; at the end, the rest is played.
    """
    if not (options.play or options.stream) or not is_first_process():
        yield None
        return
    open_sink = _open_sound_card if options.play else lambda rate: _to_stdout(options.stream_format or "wav", rate)
    heard = _Listener(open_sink, options.play_level)
    try:
        yield heard
        heard.finish()
    finally:
        heard.abandon()
    if heard.level is None:
        write_error(f"{PROGRAM}: level {options.play_level} was not sampled, so there was nothing to hear.")


Sink = Callable[["np.ndarray | None"], None]
"""Takes blocks of samples `[t]`, and None at the end."""


class _Listener:
    """The audio of one song at one level, passed on by a thread, since a sink waits until its audio is played."""

    def __init__(self, open_sink: Callable[[int], Sink], level: int | None) -> None:
        self.level: int | None = None
        self._open_sink, self._wanted = open_sink, level
        self._blocks: queue.SimpleQueue[AudioBlock | None] = queue.SimpleQueue()
        self._is_abandoned = False
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._pass_on, daemon=True)

    def __call__(self, block: AudioBlock) -> None:
        """Queue a block.

        Raises:
            OSError: the sink has failed.
        """
        self._raise_error()
        wanted = self._wanted if self.level is None else self.level
        if block.song != 0 or wanted not in (None, block.level):
            return
        if self.level is None:
            self.level = block.level
            self._thread.start()
        self._blocks.put(block)

    def finish(self) -> None:
        """Wait until everything is played.

        Raises:
            OSError: the sink has failed.
        """
        self._blocks.put(None)
        while self._thread.is_alive():
            self._thread.join(0.2)  # Ctrl-C is handled in between
        self._raise_error()

    def abandon(self) -> None:
        """Stop, with whatever is still to be played."""
        self._is_abandoned = True
        self._blocks.put(None)

    def _raise_error(self) -> None:
        # Kept here, it would keep the frames that it passes, with their tensors, up to the end of the interpreter.
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error

    def _pass_on(self) -> None:
        try:
            sink: Sink | None = None
            while (block := self._blocks.get()) is not None and not self._is_abandoned:
                sink = self._open_sink(block.sampling_rate) if sink is None else sink
                sink(block.samples)
            if sink is not None and not self._is_abandoned:
                sink(None)
        except Exception as error:  # raised again in the main thread
            self._error = error if isinstance(error, OSError) else OSError(f"The audio cannot be played: {error}.")


def _to_stdout(stream_format: str, sampling_rate: int) -> Sink:
    """Return a sink that writes 16-bit samples to stdout, as they are or as a wav file of unknown length."""
    from ..audio.io import to_pcm
    from ..audio.riff import wav_header

    sys.stdout.flush()
    # Without Python's buffer, whose lock a thread that waits for the reader would hold when the process ends.
    out: BinaryIO = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
    if stream_format == "wav":
        _write_all(out, wav_header(None, sampling_rate))

    def write(samples: np.ndarray | None) -> None:
        if samples is not None:
            _write_all(out, to_pcm(samples).astype("<i2").tobytes())

    return write


def _write_all(out: BinaryIO, data: bytes) -> None:
    """Write to a file without a buffer, which may take a part at a time."""
    left = memoryview(data)
    while left:
        left = left[out.write(left) :]


def _find_sound_card() -> Any:
    """Import sounddevice, and check that there is something to play on.

    Raises:
        OSError: the package, its library or a sound card is missing.
    """
    try:
        sounddevice = import_module("sounddevice")
    except ImportError as error:
        raise OSError(_NO_SOUNDDEVICE) from error
    except OSError as error:  # it does not find PortAudio
        raise OSError("--play needs PortAudio; install it, on Debian with: apt install libportaudio2") from error
    try:
        sounddevice.query_devices(kind="output")
    except (ValueError, sounddevice.PortAudioError) as error:
        raise OSError(
            f"There is no sound card to play on ({str(error).rstrip('.')}); leave --play out, or pipe --stream - "
            "into a player."
        ) from error
    return sounddevice


def _open_sound_card(sampling_rate: int) -> Sink:
    """Return a sink that plays samples on the default sound card."""
    stream = _find_sound_card().OutputStream(samplerate=sampling_rate, channels=1, dtype="float32")
    stream.start()

    def write(samples: np.ndarray | None) -> None:
        if samples is not None:
            stream.write(samples.reshape(-1, 1))
        else:
            stream.stop()  # waits until the last samples are played
            stream.close()

    return write
