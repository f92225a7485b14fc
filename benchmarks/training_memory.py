"""Estimate the memory of training for every preset, and compare estimates with measured steps.

    python benchmarks/training_memory.py            # the table of docs/training-memory.md, some minutes
    python benchmarks/training_memory.py --measure  # the measured cases alone

prints tables and, last, the same as one line of JSON. Each case is measured in its own process on the CPU: the peak
memory over two steps of the training loop, above that before the model was made. GPUs are not measured; there the
estimate leaves out the CUDA context and the fragmentation of the allocator.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

import torch
from serving import resident
from torch.utils.data import Dataset

from hf_jukebox import JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig
from hf_jukebox.presets import PRIOR_PRESETS, VQVAE_PRESETS
from hf_jukebox.training.accelerator import make_accelerator
from hf_jukebox.training.arguments import LoopArguments
from hf_jukebox.training.data import TrainingData, training_loader
from hf_jukebox.training.loop import Trainer
from hf_jukebox.training.memory_estimate import MemoryEstimate, estimate_memory
from hf_jukebox.training.train_prior import PriorTask
from hf_jukebox.training.train_vqvae import VQVAETask

CHUNK = 262144  # samples, as in the published recipe of the VQ-VAE
GIGABYTE = 1e9


@dataclass(frozen=True)
class Case:
    """Training small enough for a CPU, with enough memory to show beside that of the interpreter."""

    name: str
    config: JukeboxPriorConfig | JukeboxVQVAEConfig
    options: dict[str, Any]
    chunk_length: int | None = None

    def arguments(self, output_dir: str) -> LoopArguments:
        return LoopArguments(output_dir=output_dir, report_to="none", sample_steps=0, **self.options)

    def estimate(self) -> MemoryEstimate:
        return estimate_memory(self.config, self.arguments("unused"), chunk_length=self.chunk_length)


_PRIOR = JukeboxPriorConfig.from_preset("small_prior", n_ctx=1024, hidden_size=512, num_hidden_layers=12)
_VQVAE = JukeboxVQVAEConfig.from_preset("small_vqvae")
CASES = [
    Case("prior, batch 2", _PRIOR, {"train_batch_size": 2}),
    Case("prior, batch 8", _PRIOR, {"train_batch_size": 8}),
    Case("prior, batch 8, recomputed", _PRIOR, {"train_batch_size": 8, "gradient_checkpointing": True}),
    Case("VQ-VAE, batch 2", _VQVAE, {"train_batch_size": 2}, chunk_length=65536),
]


class _Batches(Dataset[dict[str, torch.Tensor]]):
    """Random examples of a case."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def __len__(self) -> int:
        return 64

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        config = self.case.config
        if isinstance(config, JukeboxPriorConfig):
            return {"codes": torch.randint(config.codebook_size, (config.n_ctx,))}
        return {"audio": torch.rand(self.case.chunk_length or CHUNK) - 0.5}


def train_case(case: Case) -> int:
    """Train two steps, and return the bytes that this process needed for them."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        arguments = case.arguments(folder)
        accelerator = make_accelerator(arguments)
        before = resident("VmRSS")
        model: JukeboxPrior | JukeboxVQVAE
        task: PriorTask | VQVAETask
        if isinstance(case.config, JukeboxPriorConfig):
            model = JukeboxPrior(case.config)
            task = PriorTask(case.config, JukeboxVQVAE(_VQVAE))
        else:
            model = JukeboxVQVAE(case.config)
            task = VQVAETask(model, accelerator.device)
        data = TrainingData(_Batches(case), _Batches(case), "random")
        trainer = Trainer(model, task, data, arguments, accelerator)
        batches = iter(training_loader(data.train, arguments.train_batch_size))
        for _ in range(2):
            trainer.train_step(batches)
    return resident("VmHWM") - before


def measure(index: int) -> dict[str, Any]:
    """Measure a case in its own process, which returns freed memory to the OS at once, as the estimate assumes."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, __file__, "--case", str(index)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    measured, estimated = int(done.stdout.split()[-1]), CASES[index].estimate().total
    return {
        "case": CASES[index].name,
        "measured_gb": round(measured / GIGABYTE, 3),
        "estimated_gb": round(estimated / GIGABYTE, 3),
        "off": round(estimated / measured - 1, 3),
    }


def preset_rows() -> list[dict[str, Any]]:
    """Estimate every published preset: bf16, batch 1, plain, recomputed, and sharded over 8 GPUs."""
    rows = []
    for name in [*VQVAE_PRESETS, *PRIOR_PRESETS]:
        if name.startswith("tiny"):
            continue
        vqvae = name in VQVAE_PRESETS
        config: JukeboxPriorConfig | JukeboxVQVAEConfig
        config = JukeboxVQVAEConfig.from_preset(name) if vqvae else JukeboxPriorConfig.from_preset(name)
        precision = "no" if vqvae else "bf16"
        chunk = CHUNK if vqvae else None
        options: dict[str, Any] = {"train_batch_size": 1, "mixed_precision": precision}
        plain = estimate_memory(config, LoopArguments(**options), chunk_length=chunk)
        row = {
            "preset": name,
            "parameters": plain.num_parameters,
            "weights": plain.weights,
            "gradients": plain.gradients,
            "optimizer": plain.optimizer,
            "ema": plain.ema,
            "activations": plain.activations,
            "total": plain.total,
        }
        if not vqvae:
            recomputing = LoopArguments(**options, gradient_checkpointing=True)
            row["recomputed"] = estimate_memory(config, recomputing).total
            row["eight"] = estimate_memory(config, recomputing, num_processes=8, sharded=True).total
        rows.append(row)
        print(as_row(row), flush=True)
    return rows


HEADER = """\
| preset | parameters | weights | gradients | Adam | EMA | activations | **total** | recomputed | a GPU of 8 |
|---|---|---|---|---|---|---|---|---|---|"""


def as_row(row: dict[str, Any]) -> str:
    """Format a row of the table, in GB."""
    names = ("weights", "gradients", "optimizer", "ema", "activations", "total", "recomputed", "eight")
    sizes = [f"{row[name] / GIGABYTE:.1f}" if name in row else "" for name in names]
    return f"| `{row['preset']}` | {row['parameters'] / 1e6:.1f} M | " + " | ".join(sizes) + " |"


def main(words: list[str]) -> None:
    if words[:1] == ["--case"]:
        print(train_case(CASES[int(words[1])]))
        return
    measured = []
    print("| case | measured | estimated | off |\n|---|---|---|---|")
    for index in range(len(CASES)):
        measured.append(measure(index))
        case, real, estimated, off = measured[-1].values()
        print(f"| {case} | {real:.2f} GB | {estimated:.2f} GB | {off:+.1%} |", flush=True)
    rows = []
    if "--measure" not in words:
        print(HEADER)
        rows = preset_rows()
    print(json.dumps({"measured": measured, "presets": rows}))


if __name__ == "__main__":
    main(sys.argv[1:])
