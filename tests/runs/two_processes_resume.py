"""Program of the processes of test_storage.py: stop a run, resume it, and see whose windows the other one removes."""

import sys
import time
from pathlib import Path

import torch
from helpers.tiny import codes_in_s, tiny_pipeline

from hf_jukebox import SamplingProgress
from hf_jukebox.sampling.processes import process_rank


def main() -> None:
    torch.set_num_threads(1)
    rank, folder = process_rank()[0], Path(sys.argv[1])
    pipe = tiny_pipeline()
    pipe(
        audio_length_in_s=codes_in_s(24),
        levels=2,
        num_waveforms_per_prompt=4,
        generator=1,
        output_dir=folder,
        output_type="latent",
        callback=lambda progress: progress.filled < 6,
    )
    before = {path: path.stat().st_mtime_ns for path in (folder / "state").iterdir()}

    def stop(progress: SamplingProgress) -> bool:
        """Stop; the second process does so when the first has saved its windows, and does not save its own before."""
        deadline = time.monotonic() + 20
        while rank == 1 and time.monotonic() < deadline:
            now = {path: path.stat().st_mtime_ns for path in before if path.is_file()}
            if now != before:
                time.sleep(0.5)  # the first process may remove files now
                found = sorted(path.name for path in (folder / "state").glob("*.safetensors"))
                (folder / "found").write_text("\n".join(found))
                break
            time.sleep(0.01)
        return False

    pipe.resume_run(folder, output_type="latent", callback=stop)
    if rank == 0:
        (folder / "before").write_text("\n".join(sorted(path.name for path in before)))
    pipe.resume_run(folder, output_type="latent")


if __name__ == "__main__":
    main()
