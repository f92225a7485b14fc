"""Scripts of examples/: from recordings to a sampled piece, and errors."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.forked import run

EXAMPLES = Path(__file__).parents[2] / "examples"
RATE = 22050


def script(name: str, *words: object, status: int = 0) -> str:
    """Run a script, check its exit status, and return its stderr."""
    done = run(EXAMPLES / name, *words)
    assert done.returncode == status, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> Path:
    """Ten beats of 3 s, by two artists."""
    folder = tmp_path_factory.mktemp("songs")
    rows = ["file_name,artist,genre"]
    for number in range(10):
        time = np.arange(3 * RATE) / RATE
        beat = np.sin(2 * np.pi * (80 + 20 * number) * time) * np.exp(-8 * (time % 0.5))
        soundfile.write(folder / f"{number}.wav", 0.5 * beat, RATE)
        rows.append(f"{number}.wav,Artist {number % 2},Beats")
    (folder / "metadata.csv").write_text("\n".join(rows))
    return folder


def test_models_trained_from_recordings_sample_a_piece(tmp_path, songs):
    quick = ["--max_train_steps", 3, "--train_batch_size", 2, "--sample_steps", 0, "--checkpointing_steps", 2]
    vqvae, codes = tmp_path / "vqvae", tmp_path / "codes"
    script(
        "train_vqvae.py", "--train_data_dir", songs, "--output_dir", vqvae,
        "--preset", "tiny_vqvae", "--chunk_length", 4096, *quick,
    )  # fmt: skip
    script("encode_dataset.py", "--train_data_dir", songs, "--vqvae", vqvae, "--output_dir", codes)
    common = ["--vqvae", vqvae, "--codes_dir", codes, "--min_duration", 1, *quick]
    script("train_prior.py", "--preset", "tiny_labelled_prior", "--output_dir", tmp_path / "top", *common)
    for level in (1, 0):
        options = ["--preset", "tiny_upsampler", "--level", level, "--output_dir", tmp_path / str(level)]
        script("train_prior.py", *options, *common)

    from hf_jukebox import JukeboxPipeline, JukeboxPrior, JukeboxVQVAE

    priors = {f"prior_{i}": JukeboxPrior.from_pretrained(tmp_path / name) for i, name in enumerate(["0", "1", "top"])}
    pipeline = JukeboxPipeline(JukeboxVQVAE.from_pretrained(vqvae), **priors)
    pipeline.set_progress_bar_config(disable=True)
    out = pipeline(
        songs / "0.wav", artist="Artist 1", audio_length_in_s=0.3, prompt_length_in_s=0.2, total_length_in_s=3
    )
    assert out.audios.shape == (1, int(0.3 * RATE) // 128 * 128) and np.isfinite(out.audios).all()
    assert out.save(tmp_path / "piece")[0].is_file()
    assert (tmp_path / "top" / "README.md").is_file() and (tmp_path / "top" / "checkpoint-2").is_dir()


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("train_vqvae.py", ["--train_data_dir", "EMPTY", "--output_dir", "EMPTY/run"], "There is no audio in EMPTY"),
        ("train_prior.py", ["--vqvae", "EMPTY/none", "--train_data_dir", "SONGS"], "EMPTY/none"),
        ("encode_dataset.py", ["--train_data_dir", "EMPTY", "--vqvae", "x", "--output_dir", "y"], "EMPTY"),
        ("same_prompt_many_styles.py", ["EMPTY/none.wav"], "There is no file EMPTY/none.wav"),
    ],
)
def test_bad_input_ends_with_one_line_and_status_2(tmp_path, songs, name, words, message):
    for name_in_words, folder in (("EMPTY", str(tmp_path)), ("SONGS", str(songs))):
        words = [word.replace(name_in_words, folder) for word in words]
        message = message.replace(name_in_words, folder)
    (line,) = [line for line in script(name, *words, status=2).splitlines() if "songs to train on" not in line]
    assert line.startswith(f"{name}: ") and message in line
