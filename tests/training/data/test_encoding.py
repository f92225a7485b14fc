"""Codes made once and codes made in the loop are the same batches."""

import pytest
import torch

from hf_jukebox import JukeboxPriorConfig
from hf_jukebox.hierarchy import encoder_fingerprint
from hf_jukebox.training.data import (
    ChunkEncoder,
    ChunkSettings,
    audio_data_for_prior,
    code_data,
    encode_songs,
    encoding,
    songs_of_folder,
    tables_from_songs,
    training_loader,
    validation_loader,
)

RATE = 4000
PRIORS = {
    "top": {"level": 2, "hop_length": 32},
    "upsampler": {"level": 1, "hop_length": 16, "upsampling_strides": [2], "conditioner_depth": 2},
    "finest": {"level": 0, "hop_length": 8, "upsampling_strides": [2], "conditioner_depth": 2},
    "lyrics": {"level": 2, "hop_length": 32, "preset": "tiny_lyrics_prior"},
}


def prior_config(name):
    settings = {"preset": "tiny_prior", "sampling_rate": RATE, "codebook_size": 64} | PRIORS[name]
    return JukeboxPriorConfig.from_preset(settings.pop("preset"), **settings)


@pytest.mark.parametrize("name", PRIORS)
def test_a_cache_gives_the_same_batches_as_the_vqvae_in_the_loop(songs, vqvae, tmp_path, name, monkeypatch):
    monkeypatch.setattr(encoding, "_BLOCK", 3000)  # so that a song has several blocks
    config = prior_config(name)
    listed = songs_of_folder(songs)
    if config.has_labels:
        tables_from_songs([song.metadata for song in listed], config).put_into(config)
    settings = ChunkSettings.for_prior(config, vqvae.config, aug_shift=True, seed=3)
    audio = audio_data_for_prior(listed, settings, config, vqvae)
    codes = code_data(encode_songs(listed, vqvae, tmp_path / "codes"), settings, config)
    assert codes.summary == audio.summary and len(codes.train) == len(audio.train)

    encode = ChunkEncoder(vqvae, config)
    epoch_and_a_half = len(audio.train) * 3 // 2 // 4
    in_loop, cached = training_loader(audio.train, 4), training_loader(codes.train, 4)
    for _, batch, read in zip(range(epoch_and_a_half), in_loop, cached, strict=False):
        encoded = encode(batch)
        assert encoded.keys() == read.keys() == {"codes", *_extras(config)}
        for key, value in read.items():
            torch.testing.assert_close(encoded[key], value, rtol=0, atol=0)
    for batch, read in zip(validation_loader(audio.validation, 3), validation_loader(codes.validation, 3), strict=True):
        assert torch.equal(encode(batch)["codes"], read["codes"])
    assert len(read["codes"].unique()) > 10  # the codes differ


def _extras(config):
    return (["upper_codes"] if config.is_upsampler else []) + (["labels"] if config.has_labels else [])


def test_codes_of_a_chunk_equal_those_of_the_song_at_its_offset(songs, vqvae):
    config = prior_config("lyrics")
    listed = songs_of_folder(songs)
    tables_from_songs([song.metadata for song in listed], config).put_into(config)
    settings = ChunkSettings.for_prior(config, vqvae.config, aug_shift=True)
    train = audio_data_for_prior(listed, settings, config, vqvae).train
    batch = ChunkEncoder(vqvae, config)(next(iter(training_loader(train, 6))))
    by_length = {recording.num_samples: recording for recording in train.recordings}
    for codes, labels in zip(batch["codes"], batch["labels"], strict=True):
        total, offset = labels[:2].tolist()
        recording = by_length[total]
        whole = torch.from_numpy(recording.read_mono(0, total // 32 * 32))[None]
        assert torch.equal(vqvae.encode(whole)[2][0, offset // 32 : offset // 32 + 64], codes)
        assert labels[3] == 1 + int(recording.song.metadata.artist[-1])


def test_a_prior_of_another_vqvae_is_refused(vqvae):
    config = JukeboxPriorConfig.from_preset("tiny_prior", sampling_rate=4000)
    with pytest.raises(ValueError, match="the VQ-VAE needs 32 there"):
        ChunkEncoder(vqvae, config)


def test_the_fingerprint_covers_everything_that_codes_depend_on(vqvae, other_vqvae, tmp_path):
    fingerprint = encoder_fingerprint(vqvae)
    assert fingerprint != encoder_fingerprint(other_vqvae)
    vqvae.save_pretrained(tmp_path)
    again = type(vqvae).from_pretrained(tmp_path)
    assert encoder_fingerprint(again) == fingerprint
    again.config.commit_weight = 0.5
    with torch.no_grad():
        again.decoders[0].out.weight += 1
        again.quantizers[0].running_sum += 1
    assert encoder_fingerprint(again) == fingerprint
    with torch.no_grad():
        again.quantizers[2].codebook[0, 0] += 1e-3
    assert encoder_fingerprint(again) != fingerprint
