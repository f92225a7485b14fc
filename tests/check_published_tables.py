"""Compares the tokenizer with label rows that the published code made from the published tables.

The tables (v2_artist_ids.txt, v2_genre_ids.txt, v3_artist_ids.txt, v3_genre_ids.txt) come with the original code and
are not part of this repository, so this is a command to run by hand and no test:

    python tests/check_published_tables.py --ids DIR --expected FILE

FILE is a JSON list of songs at 44.1 kHz, each with `vocab` ("v2": the labels of `5b_lyrics`, 5 genre words and 512
characters over 8192 x 128 samples; "v3": those of `1b_lyrics`, 1 and 384 over 6144 x 128), `artist`, `genre`, `lyrics`,
`total_seconds`, `offset_seconds`, and what the published code made of them: the label row `y`, `clean_lyrics`,
`n_full_tokens`, and the `artist`, `genre` and `lyrics` that it reads back from the row (`describe`). A song with an
`error` instead is one where the published code stops because the genre has more than five words: there, the first five
must be read, with a warning.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

from hf_jukebox.tokenization_jukebox import JukeboxTokenizer, normalize_name

SAMPLING_RATE = 44100
HOP_LENGTH = 128
MODELS = {"v2": ("5b_lyrics", 8192), "v3": ("1b_lyrics", 6144)}


def differences(song: dict[str, Any], tokenizer: JukeboxTokenizer, n_ctx: int) -> list[str]:
    """The names of the results that are not as expected."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        labels = tokenizer(
            artist=song["artist"],
            genre=song["genre"],
            lyrics=song["lyrics"],
            level=2,
            total_length=song["total_seconds"] * SAMPLING_RATE,
            offset=song["offset_seconds"] * SAMPLING_RATE,
            window_length=n_ctx * HOP_LENGTH,
            allow_beyond=True,
        )["labels"][0]
    if "error" in song:
        known = tokenizer.vocabularies[2].genres
        words = normalize_name(song["genre"], "v2").split("_")
        checks = {
            "the first five genre words": labels[4:9].tolist() == [known[word] for word in words[:5]],
            "one warning": len(caught) == 1 and words[5] in str(caught[0].message),
        }
    else:
        decoded = tokenizer.decode(labels, level=2)
        clean = tokenizer.clean_lyrics(song["lyrics"], level=2)
        checks = {
            "y": labels.tolist() == song["y"],
            "clean_lyrics": clean == song["clean_lyrics"],
            "n_full_tokens": len(clean) == song["n_full_tokens"],
            "describe": {key: getattr(decoded, key) for key in song["describe"]} == song["describe"],
        }
    return [name for name, equal in checks.items() if not equal]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", type=Path, required=True, help="folder of the published tables")
    parser.add_argument("--expected", type=Path, required=True, help="JSON file of the expected label rows")
    args = parser.parse_args()

    tokenizers = {vocab: (JukeboxTokenizer.from_ids(args.ids, model), n) for vocab, (model, n) in MODELS.items()}
    for tokenizer, _ in tokenizers.values():
        for level, vocabulary in tokenizer.vocabularies.items():
            print(f"level {level}: {len(vocabulary.artists)} artists, {len(vocabulary.genres)} genres")
    songs = json.loads(args.expected.read_text(encoding="utf-8"))
    failed = 0
    for song in songs:
        wrong = differences(song, *tokenizers[song["vocab"]])
        failed += bool(wrong)
        print(f"{song['vocab']} {song['artist']!r}, {song['genre']!r}: {', '.join(wrong) or 'as expected'}")
    print(f"{len(songs) - failed} of {len(songs)} songs as expected")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
