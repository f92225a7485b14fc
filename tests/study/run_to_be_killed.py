"""Embed a folder with a callback that kills the process: `run_to_be_killed.py MODEL FOLDER OUTPUT`."""

import os
import signal
import sys

from hf_jukebox import JukeboxPipeline

model, folder, output = sys.argv[1:]
done = []


def kill_after_two(name: str, is_embedded: bool) -> None:
    done.append(name)
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)


JukeboxPipeline.from_pretrained(model).embed_files(folder, output, pool=("mean", None), callback=kill_after_two)
