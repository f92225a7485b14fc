"""Program of the processes of test_processes.py: sample a song and, on the main process, save its codes."""

import os
import sys

import torch
from helpers.tiny import codes_in_s, tiny_pipeline

from hf_jukebox.sampling.processes import process_rank


def main() -> None:
    torch.set_num_threads(1)
    assert process_rank()[1] == int(os.environ.get("WORLD_SIZE", "1"))
    results = {}
    for upsampling, songs in (("parallel", 1), ("sequential", 3)):
        out = tiny_pipeline()(
            audio_length_in_s=codes_in_s(24),
            num_waveforms_per_prompt=songs,
            generator=torch.Generator().manual_seed(process_rank()[0]),  # that of the main process counts
            upsampling=upsampling,
        )
        results[upsampling] = out.codes
    if process_rank()[0] == 0:
        torch.save(results, sys.argv[1])


if __name__ == "__main__":
    main()
