"""Catalogues of salted hashes: no song in them, and the same guarantee."""

from pathlib import Path

import numpy as np
from helpers.catalogues import TOP, longest_common, top_catalogue
from helpers.refusals import refusal, refusal_to_write

from hf_jukebox.catalogue.folder import HashedCatalogue, open_catalogue, open_songs, write_hashed_catalogue


def songs() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 64, length).astype(np.uint16) for length in (900, 30, 500)]


def recite(catalogue: HashedCatalogue, song: np.ndarray, longest: int) -> np.ndarray:
    """Return codes that follow a song wherever that is allowed, and another code where it is not."""
    follower = catalogue.follower(TOP, longest, 2)
    codes = []
    for code in song:
        rows, excluded = follower.too_long()
        assert set(rows.tolist()) <= {0}
        codes.append((int(code) + 1) % 64 if code in excluded else int(code))
        follower.observe(np.array([codes[-1], 5], np.uint16))
    return np.array(codes, np.uint16)


def test_hashes_limit_agreements_and_hold_no_song(tmp_path: Path) -> None:
    given = songs()
    plain = top_catalogue(tmp_path / "c", given)
    longest = plain.format.codes(TOP, 0.25)
    hashed = write_hashed_catalogue(plain, tmp_path / "h", 0.25)
    assert hashed.shortest(TOP) == longest == 43
    recited = recite(hashed, given[0][100:400], longest)
    assert 27 <= longest_common(recited, given[0]) <= longest
    assert (recited == given[0][100:400]).mean() > 0.8
    content = b"".join(path.read_bytes() for path in hashed.folder.iterdir())
    assert b"song" not in content.replace(b'"songs"', b"") and given[0][:8].tobytes() not in content
    # Another salt gives other hashes.
    other = write_hashed_catalogue(plain, tmp_path / "h2", 0.25)
    assert not set(hashed.grams(TOP).hashes.tolist()) & set(other.grams(TOP).hashes.tolist())


def test_what_hashes_cannot_do_is_refused_in_one_sentence(tmp_path: Path) -> None:
    plain = top_catalogue(tmp_path / "c", songs())
    write_hashed_catalogue(plain, tmp_path / "h", 1.0)
    assert "choose a larger `longest_in_s`" in refusal_to_write(
        tmp_path, lambda: write_hashed_catalogue(plain, tmp_path / "s", 0.1)
    )
    assert "choose a smaller `longest_in_s`" in refusal_to_write(
        tmp_path, lambda: write_hashed_catalogue(plain, tmp_path / "s", 10)
    )
    assert "exists already" in refusal_to_write(
        tmp_path, lambda: write_hashed_catalogue(plain, tmp_path / "h", 1.0), FileExistsError
    )
    hashed = open_catalogue(tmp_path / "h")
    assert "ask for hashes of shorter stretches" in refusal(lambda: hashed.follower(TOP, 100, 1))
    assert "holds hashes of codes and no songs" in refusal(lambda: open_songs(tmp_path / "h"))
