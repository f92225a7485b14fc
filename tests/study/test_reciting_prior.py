"""A prior that was trained on ten pieces until it recites them, and is kept from it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.catalogues import TOP, longest_common, top_catalogue
from helpers.tiny import codes_in_s, tiny_vqvae

from hf_jukebox import JukeboxPipeline, JukeboxPrior, JukeboxPriorConfig
from hf_jukebox.study.copies import check_pieces

LOOP, REPEATS, PIECES = 24, 47, 100


def loops() -> list[np.ndarray]:
    """Return ten pieces of 6.5 s, each a loop of 0.14 s."""
    random = np.random.default_rng(0)
    return [np.tile(random.integers(0, 64, LOOP), REPEATS) for _ in range(10)]


def train_until_it_recites(pieces: list[np.ndarray]) -> JukeboxPrior:
    torch.manual_seed(0)
    codes, random = torch.from_numpy(np.stack(pieces)), torch.Generator().manual_seed(0)
    prior = JukeboxPrior(JukeboxPriorConfig.from_preset("tiny_prior", hidden_size=64)).train()
    optimizer = torch.optim.AdamW(prior.parameters(), lr=4e-3, weight_decay=0.0)
    steps = 400
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        rows, starts = torch.randint(10, (32,), generator=random), torch.randint(LOOP, (32,), generator=random)
        loss = prior(codes[rows[:, None], starts[:, None] + torch.arange(64)]).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return prior.eval()


@pytest.mark.slow
def test_a_prior_that_recites_is_kept_from_it(tmp_path: Path) -> None:
    pieces = loops()
    pipe = JukeboxPipeline(tiny_vqvae(), prior_2=train_until_it_recites(pieces))
    pipe.set_progress_bar_config(disable=True)
    catalogue = top_catalogue(tmp_path / "c", pieces, pipe)
    limit = catalogue.format.codes(TOP, 2.0)

    def sample(**options: object) -> tuple[list[int], list[float]]:
        """Return the longest agreement of each piece, and its price in bits."""
        out = pipe(
            audio_length_in_s=codes_in_s(1000),
            num_waveforms_per_prompt=PIECES,
            levels=(2,),
            generator=0,
            temperature=0.7,
            output_type="latent",
            **options,
        )
        codes = out.codes[TOP].numpy()
        agreements = [max(longest_common(piece, song) for song in pieces) for piece in codes]
        # The search finds what every comparison finds.
        report = check_pieces(catalogue, TOP, list("abcde"), list(codes[:5]), excerpts=2)
        assert [piece.agreements[0].length for piece in report.pieces] == agreements[:5]
        return agreements, [] if out.avoided is None else [sum(song.values()) for song in out.avoided[TOP]]

    free, _ = sample()
    guarded, prices = sample(avoid=tmp_path / "c", longest_in_s=2.0)
    over = sum(length > catalogue.format.codes(TOP, 5.0) for length in free)
    print(f"{over} of {PIECES} copy over 5 s, the longest {max(free)} codes; guarded {max(guarded)} of {limit} codes,")
    print(f"for {np.mean(prices):.1f} bits per piece")
    assert over > 0
    assert max(guarded) <= limit
