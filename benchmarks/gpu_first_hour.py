"""Check on one CUDA GPU, in about 45 minutes, what the GPU path promises, and print one table.

    python benchmarks/gpu_first_hour.py                # or: make gpu-first-hour
    python benchmarks/gpu_first_hour.py --rehearse     # small shapes on the CPU, to try the program

A part that fails is a row that says so, and the next one begins. `--parts` runs some of them.
"""

import argparse
import contextlib
import gc
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import measuring
import torch
from random_models import NARROW, halve_blocks, quantize_blocks, randomize, weight_bytes

from hf_jukebox import DEMO_MODEL, JukeboxPipeline, JukeboxPrior, JukeboxPriorConfig
from hf_jukebox.audio.io import read_audio
from hf_jukebox.layers import fused_cpu, fused_cuda
from hf_jukebox.layers.attention import StepPosition
from hf_jukebox.layers.conditioning import LabelColumns
from hf_jukebox.layers.fused_cuda_batch import MAX_BATCH
from hf_jukebox.layers.transformer import FusedSteps
from hf_jukebox.memory.batch_size import song_bytes
from hf_jukebox.modeling_prior import DecodeState
from hf_jukebox.runs.storage import SnapshotStore
from hf_jukebox.sampling import step_runner
from hf_jukebox.sampling.batch import BatchSampler, BatchTask
from hf_jukebox.sampling.options import SamplingSettings
from hf_jukebox.sampling.step_runner import StepRunner
from hf_jukebox.sampling.windows import Span, Window

UPSAMPLER, TOP_5B, TOP_1B = "upsampler_level_0", "prior_5b_lyrics", "prior_1b_lyrics"
PROMPT = Path(__file__).parents[1] / "examples" / "prompt.wav"


class FirstHour:
    """The parts, in the order in which they are run; each yields rows of the table."""

    def __init__(self, rehearse: bool, codes: int) -> None:
        self.device = torch.device("cpu" if rehearse else "cuda")
        self.rehearse, self.codes = rehearse, 60 if rehearse else codes

    def facts(self) -> Iterator[dict[str, Any]]:
        """Bandwidth and versions."""
        machine = measuring.machine(torch.get_num_threads(), self.device.type)
        yield {"what": machine["machine"], "result": f"torch {machine['torch']}, {machine['read_gb_s']} GB/s read"}

    def waiting(self) -> Iterator[dict[str, Any]]:
        """Nothing in the loop waits for the device."""
        sampler = iter(BatchSampler(self.prior(UPSAMPLER, layers=6), self.task(1, 100)))
        next(sampler)
        self.synchronize()
        if not self.rehearse:
            torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(50):
                next(sampler)
            yield {"what": "50 codes without a wait", "result": "yes"}
        finally:
            if not self.rehearse:
                torch.cuda.set_sync_debug_mode("default")

    def exact(self) -> Iterator[dict[str, Any]]:
        """Captured and compiled steps sample the codes of the operators run one by one, in float32."""
        for preset in (UPSAMPLER, TOP_1B, TOP_5B):
            prior = self.prior(preset, torch.float32, layers=12)
            with self.operators_one_by_one():
                expected = self.sampled(prior, StepRunner(), 2)
            for name, steps in {"graph": StepRunner(), "compiled graph": StepRunner(compiled=True)}.items():
                share = float((self.sampled(prior, steps, 2) == expected).float().mean())
                yield {"what": f"{preset}, 12 layers, {name}: equal codes", "result": f"{share:.2%}"}

    def groups(self) -> Iterator[dict[str, Any]]:
        """Rows of a batch against the same rows one at a time."""
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            prior = self.prior(UPSAMPLER, dtype, layers=12)
            batch = 8
            for name, compiled in (("graph", False), ("compiled graph", True)):
                steps = StepRunner(compiled=compiled)
                whole = self.sampled(prior, steps, batch)
                again = "equal" if torch.equal(whole, self.sampled(prior, steps, batch)) else "NOT equal"
                single = torch.cat([self.sampled(prior, steps, batch, rows=[row]) for row in range(batch)])
                equal = int((single == whole).all(dim=1).sum())
                yield {
                    "what": f"{batch} rows or 1 at a time, {name}, {dtype}",
                    "result": f"{equal} of {batch} equal; a repetition is {again}",
                }

    def tf32(self) -> Iterator[dict[str, Any]]:
        """Codes of the demo's VQ-VAE on this device against those on the CPU."""
        vqvae = JukeboxPipeline.from_pretrained(DEMO_MODEL).vqvae
        audio = torch.from_numpy(read_audio(PROMPT, vqvae.config.sampling_rate))[None]
        expected = vqvae.encode(audio)
        vqvae.to(self.device)
        rounded = mock.patch("hf_jukebox.modeling_vqvae.full_float32", contextlib.nullcontext)
        for name, context in {"as it is": contextlib.nullcontext(), "TF32 allowed": rounded}.items():
            with context:
                codes = vqvae.encode(audio.to(self.device))
            changed = [float((a != b.cpu()).float().mean()) for a, b in zip(expected, codes, strict=True)]
            yield {"what": f"codes that change, {name}", "result": ", ".join(f"{share:.3%}" for share in changed)}

    def upsampler(self) -> Iterator[dict[str, Any]]:
        """Steps of the published upsampler, one song."""
        yield from self.steps(UPSAMPLER, 1, torch.float16)

    def parallel(self) -> Iterator[dict[str, Any]]:
        """The same with many rows, as in parallel upsampling."""
        for batch in (8, 16):
            yield from self.steps(UPSAMPLER, batch, torch.float16, ("graph", "generated kernels", "compiled graph"))
        yield from self.steps(UPSAMPLER, 64, torch.float16, ("graph", "compiled graph"))

    def top(self) -> Iterator[dict[str, Any]]:
        """Steps of the published top priors."""
        yield from self.steps(TOP_5B, 1, torch.float16)
        yield from self.steps(TOP_1B, 1, torch.float16, ("graph", "compiled graph"))

    def blocks(self) -> Iterator[dict[str, Any]]:
        """Steps of the blocks alone, by the kernels written by hand: some songs, and int8."""
        cases = [(UPSAMPLER, songs, False) for songs in (1, 2, 4, 8, MAX_BATCH)]
        for preset, songs, is_int8 in (*cases, (UPSAMPLER, 1, True), (TOP_5B, 1, False), (TOP_5B, 1, True)):
            prior = self.prior(preset, torch.bfloat16 if self.rehearse else torch.float16)
            if is_int8:
                quantize_blocks(prior)
            shape, state = prior.transformer.shape.attention, prior.init_state(songs)
            fused = self.fuse(prior, state)
            assert fused is not None
            x = torch.randn(songs, 1, shape.width, device=self.device)
            at = StepPosition.at(torch.full((1,), shape.positions // 2, device=self.device), state.index, shape)
            step = self.captured(partial(prior.transformer.step, x, at, state.caches, fused))
            for _ in range(10):
                step()

            def steps(step: Callable[[], Any] = step) -> None:
                for _ in range(self.codes):
                    step()

            taken = measuring.seconds(steps, self.device.type) / self.codes
            speed = weight_bytes(prior.transformer) / taken / 1e9
            name = f"{preset}, blocks alone, batch {songs}, {'int8' if is_int8 else 'half precision'}"
            yield {"what": name, "result": f"{taken * 1e3:.3f} ms, weights at {speed:.0f} GB/s"}

    def memory(self) -> Iterator[dict[str, Any]]:
        """Memory of a song against its estimate, and the time that a checkpoint takes."""
        batch = 2 if self.rehearse else 16
        prior = self.prior(UPSAMPLER)
        if not self.rehearse:
            torch.cuda.reset_peak_memory_stats()
        before = self.allocated()
        sampler = BatchSampler(prior, self.task(batch, 100, prior=prior))
        next(iter(sampler))
        self.synchronize()
        peak = 0 if self.rehearse else torch.cuda.max_memory_allocated() - before
        megabytes = peak / batch / 1e6, song_bytes(prior, prior.config.n_ctx) / 1e6
        yield {"what": "MB per song, measured / estimated", "result": "{:.0f} / {:.0f}".format(*megabytes)}
        copies = []
        for _ in range(2):  # the first one pins the memory
            started = time.perf_counter()
            snapshot = sampler.snapshot(in_background=True)
            begun = time.perf_counter() - started
            snapshot.wait()
            copied = time.perf_counter()
            copies.append(f"{copied - started:.2f} s ({begun:.2f} s of the host)")
        rows = tuple(Span(0, Window(start, start + 100, 0)) for start in range(batch))
        with tempfile.TemporaryDirectory() as folder:
            SnapshotStore(Path(folder), 0).write(0, {rows: snapshot})
        size = sum(tensor.nbytes for tensor in snapshot.tensors.values()) / 1e9
        written = time.perf_counter() - copied
        times = f"copied in {copies[0]}, again in {copies[1]}, written in {written:.2f} s"
        yield {"what": f"checkpoint of {batch} songs, {size:.2f} GB", "result": times}

    # Helpers -------------------------------------------------------------------------------------------------------

    def steps(
        self,
        preset: str,
        batch: int,
        dtype: torch.dtype,
        hows: Sequence[str] = ("one by one", "graph", "generated kernels", "compiled graph"),
    ) -> Iterator[dict[str, Any]]:
        for how in hows:
            prior = self.prior(preset, dtype)
            steps = StepRunner(compiled=how in ("generated kernels", "compiled graph"))
            with self.without(how):
                started = time.perf_counter()
                sampler = iter(BatchSampler(prior, self.task(batch, self.codes, prior=prior), steps=steps))
                for _ in range(20):
                    next(sampler)
                self.synchronize()
                first = time.perf_counter() - started
                started = time.perf_counter()
                count = sum(1 for _ in sampler)
                host = time.perf_counter() - started
                self.synchronize()
                whole = time.perf_counter() - started
            weights = weight_bytes(prior.transformer) + weight_bytes(prior.head)
            speed = f"{whole / count * 1e3:.3f} ms, {batch * count / whole:.0f} codes/s"
            share = f"weights at {weights * count / whole / 1e9:.0f} GB/s"
            ahead = f"host {host / count * 1e6:.0f} us, ready after {first:.1f} s, {self.allocated() / 1e9:.1f} GB"
            name = f"{preset}, batch {batch}, {str(dtype).removeprefix('torch.')}, {how}"
            yield {"what": name, "result": f"{speed}, {share}; {ahead}"}

    def fuse(self, prior: JukeboxPrior, state: DecodeState) -> FusedSteps | None:
        if self.rehearse:
            return fused_cpu.fuse(prior.transformer, state.batch_size)
        return fused_cuda.fuse(prior.transformer, state.caches)

    def captured(self, step: Callable[[], Any]) -> Callable[[], Any]:
        """Return a step as a CUDA graph; in a rehearsal as it is."""
        if self.rehearse:
            return step
        step()
        self.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph.replay

    def prior(self, preset: str, dtype: torch.dtype = torch.float16, layers: int | None = None) -> JukeboxPrior:
        self.clear()
        smaller: dict[str, Any] = NARROW if self.rehearse else {}
        if self.rehearse:
            layers = 4
        if layers is not None:
            smaller = smaller | {"num_hidden_layers": layers, "alignment_layer": None, "alignment_head": None}
        torch.manual_seed(0)
        with self.device:
            prior = JukeboxPrior(JukeboxPriorConfig.from_preset(preset, **smaller)).eval()
            randomize(prior)
        halve_blocks(prior, dtype)
        return prior

    def task(
        self,
        batch: int,
        length: int,
        prior: JukeboxPrior | None = None,
        rows: list[int] | None = None,
        settings: SamplingSettings | None = None,
    ) -> BatchTask:
        config = JukeboxPriorConfig.from_preset(UPSAMPLER) if prior is None else prior.config
        chosen = list(range(batch)) if rows is None else rows
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(batch, length, generator=generator)[chosen].to(self.device)
        upper = labels = None
        if config.is_upsampler:
            shape = (batch, -(-length // config.upsampling_ratio))
            upper = torch.randint(config.codebook_size, shape, generator=generator)[chosen].to(self.device)
        if config.has_labels:
            labels = torch.zeros(len(chosen), config.label_length, dtype=torch.long)
            timing = [config.sampling_rate * 120, 0, config.window_length]
            labels[:, LabelColumns.timing] = torch.tensor(timing)
            labels = labels.to(self.device)
        return BatchTask(
            codes=torch.zeros(len(chosen), length, dtype=torch.long, device=self.device),
            num_given=[0] * len(chosen),
            hop=config.n_ctx // 2,
            noise=noise,
            settings=SamplingSettings() if settings is None else settings,
            upper_codes=upper,
            labels_at=None if labels is None else lambda start: labels,
        )

    def sampled(self, prior: JukeboxPrior, steps: StepRunner, batch: int, **task: Any) -> torch.Tensor:
        task = self.task(batch, min(self.codes, 400), prior, **task)
        for _ in BatchSampler(prior, task, steps=steps):
            pass
        steps.release()
        return task.codes.cpu()

    def without(self, how: str) -> contextlib.AbstractContextManager[Any]:
        """Leave out what makes a step faster than it is to be measured."""
        if how == "one by one":
            return self.operators_one_by_one()
        if how == "generated kernels":
            return mock.patch.object(step_runner, "_fuse", return_value=None)
        return contextlib.nullcontext()

    @staticmethod
    def operators_one_by_one() -> contextlib.AbstractContextManager[Any]:
        """Run steps without capturing them."""
        return mock.patch.object(step_runner, "can_be_captured", return_value=False)

    def synchronize(self) -> None:
        if not self.rehearse:
            torch.cuda.synchronize()

    def allocated(self) -> int:
        return 0 if self.rehearse else torch.cuda.memory_allocated()

    def clear(self) -> None:
        gc.collect()
        torch._dynamo.reset()
        if not self.rehearse:
            torch.cuda.empty_cache()


PARTS = ("facts", "waiting", "exact", "groups", "tf32", "upsampler", "parallel", "top", "blocks", "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--codes", type=int, default=2000, help="codes per measurement")
    parser.add_argument("--rehearse", action="store_true", help="small shapes on the CPU")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    hour, rows = FirstHour(options.rehearse, options.codes), []
    for part in options.parts:
        started = time.perf_counter()
        try:
            run: Callable[[], Iterator[dict[str, Any]]] = getattr(hour, part)
            with torch.inference_mode():
                for row in run():
                    rows.append({"part": part, **row})
                    print(*rows[-1].values(), sep=" | ", flush=True)
        except Exception as error:
            rows.append({"part": part, "what": "FAILED", "result": f"{type(error).__name__}: {str(error)[:300]}"})
            print(*rows[-1].values(), sep=" | ", flush=True)
        print(f"({part}: {time.perf_counter() - started:.0f} s)", flush=True)
    measuring.table(rows)
    measuring.finish(benchmark="gpu_first_hour", torch=torch.__version__, rows=rows)


if __name__ == "__main__":
    main()
