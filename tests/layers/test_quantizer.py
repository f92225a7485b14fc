"""The quantiser: nearest rows, the straight-through gradient, and a codebook that follows by moving averages."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from hf_jukebox.layers.quantizer import VectorQuantizer

SIZE, DIM = 6, 4


def quantizer(decay: float = 0.9, threshold: float = 1.0, initialized: bool = True) -> VectorQuantizer:
    made = VectorQuantizer(SIZE, DIM, decay, threshold)
    if initialized:
        made.codebook.copy_(torch.randn(SIZE, DIM, generator=torch.Generator().manual_seed(0)))
        made.initialized.fill_(True)
        made.restore_running_sums(10 * SIZE)
    return made


def hidden(batch_size: int = 2, length: int = 20, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch_size, length, DIM, generator=torch.Generator().manual_seed(seed))


def test_codes_are_the_nearest_rows() -> None:
    vq = quantizer().eval()
    distance = (hidden()[:, :, None] - vq.codebook).square().sum(-1)  # [B, T, SIZE]
    assert torch.equal(vq.encode(hidden()), distance.argmin(-1))
    output = vq(hidden())
    assert torch.equal(output.codes, distance.argmin(-1))
    torch.testing.assert_close(output.quantized, vq.codebook[output.codes])
    assert torch.equal(vq.decode(output.codes), vq.codebook[output.codes])
    torch.testing.assert_close(output.commit_loss, (hidden() - vq.codebook[output.codes]).square().mean())
    torch.testing.assert_close(output.metrics["fit"], distance.min(-1).values.mean())


def test_the_gradient_goes_straight_through_to_the_encoder() -> None:
    vq = quantizer().eval()
    x = hidden().requires_grad_()
    slope = torch.randn(2, 20, DIM, generator=torch.Generator().manual_seed(2))
    (vq(x).quantized * slope).sum().backward()
    torch.testing.assert_close(x.grad, slope)


def test_the_codebook_is_a_buffer_and_does_not_change_in_evaluation_mode() -> None:
    vq = quantizer().eval()
    assert not list(vq.parameters())
    before = {name: buffer.clone() for name, buffer in vq.named_buffers()}
    vq(hidden())
    assert all(torch.equal(buffer, before[name]) for name, buffer in vq.named_buffers())
    assert before.keys() == {"codebook", "running_count", "running_sum", "initialized"}


def test_an_update_averages_counts_and_sums() -> None:
    vq = quantizer(decay=0.9)
    before = {name: buffer.clone() for name, buffer in vq.named_buffers()}
    output = vq.train()(hidden())
    assert torch.equal(output.codes, quantizer().eval()(hidden()).codes)  # of the codebook before the update
    one_hot = torch.nn.functional.one_hot(output.codes.flatten(), SIZE).float()
    count = 0.9 * before["running_count"] + 0.1 * one_hot.sum(0)
    total = 0.9 * before["running_sum"] + 0.1 * one_hot.T @ hidden().flatten(0, 1)
    torch.testing.assert_close(vq.running_count, count)
    torch.testing.assert_close(vq.running_sum, total)
    torch.testing.assert_close(vq.codebook, total / count[:, None])
    assert output.metrics["usage"] == SIZE
    share = one_hot.mean(0)
    entropy = -sum(s * s.log() for s in share if s > 0)
    torch.testing.assert_close(output.metrics["entropy"], entropy, rtol=0, atol=1e-6)


def test_the_first_batch_gives_the_first_codebook() -> None:
    vq = quantizer(initialized=False, decay=1.0).train()  # nothing is forgotten: what stands there is the first batch
    torch.manual_seed(0)
    vq(hidden())
    rows = hidden().flatten(0, 1)
    chosen = [(rows - row).abs().sum(-1).argmin().item() for row in vq.codebook]
    torch.testing.assert_close(vq.codebook, rows[chosen])
    assert len(set(chosen)) == SIZE  # sampled without replacement
    assert torch.equal(vq.running_count, torch.ones(SIZE))
    torch.testing.assert_close(vq.running_sum, vq.codebook)
    assert vq.initialized


def test_a_first_batch_smaller_than_the_codebook_is_repeated_with_a_little_noise() -> None:
    vq = quantizer(initialized=False, decay=1.0).train()
    torch.manual_seed(0)
    x = hidden(batch_size=1, length=2)
    vq(x)
    distance = (vq.codebook[:, None] - x[0]).norm(dim=-1).min(-1).values
    assert len(vq.codebook.unique(dim=0)) == SIZE
    assert 0 < distance.max() < 6 * 0.01  # of std 0.01 / sqrt(DIM) in each of DIM directions


def test_an_unused_row_restarts_until_it_is_used_without_resetting_its_counts() -> None:
    vq = quantizer(decay=0.9).train()
    vq.running_count[3] = 1.05
    vq.running_sum[3] = 105.0
    torch.manual_seed(0)
    for batch in range(2):
        vq.codebook[3] = 100.0  # far from everything
        x = hidden(seed=batch)
        assert vq(x).metrics["usage"] == SIZE - 1
        assert vq.running_count[3].item() == pytest.approx(1.05 * 0.9 ** (batch + 1))
        assert (x.flatten(0, 1) - vq.codebook[3]).abs().sum(-1).min() == 0  # an encoder output of this batch
    x = hidden(seed=5)
    used = vq.encode(x) == 3
    assert used.sum() >= 3  # enough to be alive again
    assert vq(x).metrics["usage"] == SIZE
    total = 105 * 0.9**3 + 0.1 * x[used].sum(0)
    torch.testing.assert_close(vq.codebook[3], total / (1.05 * 0.9**3 + 0.1 * used.sum()))


def test_missing_running_sums_are_restored_from_the_codes_per_item() -> None:
    vq = quantizer(decay=1.0)
    vq.running_count.zero_()
    vq.running_sum.zero_()
    book = vq.codebook.clone()
    vq.train()(hidden(batch_size=3, length=30))
    torch.testing.assert_close(vq.running_count, torch.full((SIZE,), 30 / SIZE))  # the batch size does not count
    torch.testing.assert_close(vq.running_sum, book * 30 / SIZE)
    torch.testing.assert_close(vq.codebook, book)


def _update_on(rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)  # a forked process cannot use its parent's threads
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    vq = quantizer().train()
    vq.codebook[3] = 100.0  # restarts, the same on every process
    vq.running_count[3] = 0.5
    torch.manual_seed(rank)
    vq(hidden(batch_size=1, seed=rank))
    torch.save(dict(vq.named_buffers()), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_processes_share_counts_and_restarts(tmp_path: Path) -> None:
    mp.start_processes(_update_on, args=(2, tmp_path), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name in first:
        assert torch.equal(first[name], second[name])
    together = quantizer().train()
    together.codebook[3] = 100.0
    together.running_count[3] = 0.5
    together(torch.cat([hidden(batch_size=1, seed=0), hidden(batch_size=1, seed=1)]))
    torch.testing.assert_close(first["running_count"], together.running_count)
    torch.testing.assert_close(first["running_sum"], together.running_sum)
    rows = hidden(batch_size=1, seed=0)[0]
    assert (rows - first["codebook"][3]).abs().sum(-1).min() == 0  # a row of process 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_distances_are_taken_in_float32(dtype: torch.dtype) -> None:
    vq = quantizer().eval()
    x = hidden().to(dtype)
    assert torch.equal(vq.encode(x), vq.encode(x.float()))
    output = vq(x)
    assert torch.equal(output.codes, vq.encode(x.float()))
    assert output.commit_loss.isfinite()
