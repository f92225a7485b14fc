"""How fast are embeddings of layer 36 of 72, beside the obvious loop over `forward`?

    python benchmarks/embedding.py [--width 192] [--threads N] [--device cuda] [--dtype bfloat16]

The obvious loop asks `forward` for all hidden states and averages one of them; `embed_codes` stops at the layer. Both
read the same windows of 8192 codes, as in the 5B models, of a random prior that is narrower. Also prints the difference
of half precision to float32: the relative error of the averaged vector and its cosine.
"""

from functools import partial

import torch
from measuring import arguments, finish, in_turn, machine, median, seconds, table

from hf_jukebox import JukeboxPrior, JukeboxPriorConfig
from hf_jukebox.study.embedding import EmbeddingSettings, embed_codes

LAYER = 36


def random_prior(width: int, device: str) -> JukeboxPrior:
    """Return a prior of the 5B model's depth and window."""
    torch.manual_seed(0)
    with torch.device(device):
        return JukeboxPrior(JukeboxPriorConfig.from_preset("prior_5b", hidden_size=width)).eval()


def label_row(prior: JukeboxPrior) -> torch.Tensor:
    config = prior.config
    genres = [0] + [-1] * (config.genre_words - 1)
    total = 62 * config.sampling_rate // config.hop_length * config.hop_length
    return torch.tensor([[total, 0, config.window_length, 0, *genres]], device=prior.device)


@torch.no_grad()
def obvious_loop(prior: JukeboxPrior, songs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    means = []
    for song in songs:
        hidden_states = prior(song[None], labels=labels, output_hidden_states=True).hidden_states
        means.append(hidden_states[LAYER].float().mean(1))
    return torch.cat(means).cpu()


def embedded(prior: JukeboxPrior, songs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    settings = EmbeddingSettings.resolve(prior.config, LAYER)
    found = [embed_codes(prior, song, lambda start: labels, settings)["mean"][0] for song in songs]
    return torch.stack([torch.from_numpy(each) for each in found])


def main() -> None:
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=192, help="of the prior; that of the 5B model is 4800")
    parser.add_argument("--songs", type=int, default=1, help="windows per measurement")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16", help="half precision to compare with float32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prior = random_prior(options.width, options.device)
    labels = label_row(prior)
    songs = torch.randint(prior.config.codebook_size, (options.songs, prior.config.n_ctx), device=options.device)
    ways = {"obvious loop": obvious_loop, "embed": embedded}
    results = {name: way(prior, songs, labels) for name, way in ways.items()}  # also warms up
    measures = {
        name: partial(seconds, partial(way, prior, songs, labels), options.device) for name, way in ways.items()
    }
    taken = {name: median(values) for name, values in in_turn(options.rounds, measures).items()}
    full = results["embed"]
    half = embedded(prior.to(getattr(torch, options.dtype)), songs, labels)
    rows = [{"way": name, "seconds per window": round(value / options.songs, 3)} for name, value in taken.items()]
    table(rows)
    finish(
        **machine(options.threads, options.device),
        width=options.width,
        layer=LAYER,
        seconds_per_window={name: round(value / options.songs, 4) for name, value in taken.items()},
        speedup=round(taken["obvious loop"] / taken["embed"], 2),
        largest_difference=(full - results["obvious loop"]).abs().max().item(),
        half_precision={
            "dtype": options.dtype,
            "relative_error": ((half - full).norm() / full.norm()).item(),
            "cosine": torch.cosine_similarity(half, full).mean().item(),
        },
    )


if __name__ == "__main__":
    main()
