"""Cards of pipelines and of their parts, from their configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from .cards import Card, loading_code, public_name, repositories, table
from .licences import joined_licence
from .quoting import as_argument, as_code, as_python

Config = JukeboxVQVAEConfig | JukeboxPriorConfig


@dataclass(frozen=True)
class Origin:
    """Source and licence of a pipeline.

    Attributes:
        text: Markdown.
        base_model, relation: See [`Card`].
    """

    text: str = ""
    base_model: Sequence[str] = ()
    relation: str | None = None


def pipeline_card(
    name: str,
    vqvae: JukeboxVQVAEConfig,
    priors: Sequence[JukeboxPriorConfig | None],
    *,
    origin: Origin = Origin(),
    licence: str | None = None,
    sections: Mapping[str, str] | None = None,
) -> Card:
    """Return the card of a pipeline.

    Args:
        name: Repository or folder, for the snippet.
        priors: Configs of its priors, finest level first; None where there is none.
        origin: Where it comes from.
        licence: Licence of the weights; by default that in the configs.
        sections: Other sections.
    """
    present = [prior for prior in priors if prior is not None]
    top = present[-1] if present else None
    labels = ""
    if top is not None and top.has_labels:
        given = {"artist": top.artists, "genre": top.genres}
        first = {kind: _first_name(names) for kind, names in given.items() if names}
        labels = "".join(f", {kind}={name!r}" for kind, name in first.items() if name)
    lines = [f"from hf_jukebox import {_names('JukeboxPipeline', name)}", ""]
    lines.append(f"pipe = {loading_code('JukeboxPipeline', name)}")
    if top is not None:
        call = f"pipe(audio_length_in_s={_seconds(vqvae)}, levels=({top.level},){labels})"
        lines += [f"out = {call}  # the top level alone, a sketch; or pipe('prompt.wav')", "out.save('piece')"]
    levels = [f"- VQ-VAE: {describe(vqvae)}", *(f"- `prior_{each.level}`: {describe(each)}" for each in present)]
    return Card(
        title=public_name(name),
        summary=f"{_PIPELINE}\n\n{origin.text}".strip(),
        snippet="\n".join(lines),
        licence=licence or joined_licence(config.weights_license for config in (vqvae, *present)),
        sections={
            "Parts": "\n".join(levels),
            **(sections or {}),
            "Use it": _USE.format(name=as_argument(public_name(name))),
        },
        base_model=[each for each in origin.base_model if each != name],
        relation=origin.relation,
    )


_PIPELINE = "A Jukebox pipeline for `hf_jukebox`, which continues recordings and makes up songs."
_USE = """\
`pip install hf_jukebox`, then in Python as above, or

```bash
hf-jukebox sample prompt.wav --model {name} --output piece
```
"""


def model_card(name: str, config: Config, *, base: str | None = None, licence: str | None = None) -> Card:
    """Return the card of a VQ-VAE or a prior of which nothing else is known.

    Args:
        base: Where it was loaded from.
    """
    class_name = class_name_of(config)
    kind = describe(config)
    return Card(
        title=public_name(name),
        summary=f"A Jukebox {kind}, for `hf_jukebox`.",
        snippet=model_snippet(name, config),
        licence=licence or config.weights_license,
        sections={"Use it": how_to_use(name, config)},
        base_model=[each for each in repositories(base) if each != name],
        tags=[class_name.removeprefix("Jukebox").lower()],
    )


def tokenizer_card(name: str) -> Card:
    """Return the card of a tokenizer."""
    return Card(
        title=public_name(name),
        summary="The names of artists and genres, and the alphabets, of the priors of a Jukebox pipeline.",
        snippet=f"""
from hf_jukebox import JukeboxTokenizer

tokenizer = {loading_code("JukeboxTokenizer", name)}
print(list(tokenizer.vocabularies))  # levels with labels
""",
        tags=["tokenizer"],
        metadata={"pipeline_tag": None},
    )


def model_snippet(name: str, config: Config) -> str:
    """Return Python that loads a VQ-VAE or a prior."""
    class_name = class_name_of(config)
    lines = [f"from hf_jukebox import {_names(class_name, name)}", "", f"model = {loading_code(class_name, name)}"]
    if isinstance(config, JukeboxVQVAEConfig):
        samples = 16 * config.hop_lengths[-1] * -(-config.sampling_rate // (16 * config.hop_lengths[-1]))
        lines = ["import torch", *lines]
        lines += [
            f"codes = model.encode(torch.zeros(1, {samples}))  # mono at {config.sampling_rate} Hz to codes per level",
            f"audio = model.decode(codes[{config.num_levels - 1}], level={config.num_levels - 1})",
        ]
    return "\n".join(lines)


def how_to_use(name: str, config: Config) -> str:
    """Return Markdown about a part in a pipeline."""
    name = as_argument(public_name(name))
    if isinstance(config, JukeboxVQVAEConfig):
        train = as_code(f"hf-jukebox train prior --vqvae {name} --train_data_dir SONGS")
        assemble = as_code(f"hf-jukebox assemble --vqvae {name} --prior PRIOR ... --output DIR")
        return f"Train priors on its codes with {train}, and assemble a pipeline with {assemble}."
    return (
        f"In a pipeline with the VQ-VAE that it was trained on: `pipe.register_modules(prior_{config.level}=model)`, "
        f"or `hf-jukebox assemble --vqvae VQVAE --prior ... --output DIR`."
    )


def describe(config: Config) -> str:
    """Return a model in words."""
    if isinstance(config, JukeboxVQVAEConfig):
        return (
            f"VQ-VAE of {config.num_levels} levels at {config.sampling_rate} Hz, hops of {config.hop_lengths} samples"
        )
    kind = "upsampler" if config.is_upsampler else "top prior"
    lyrics = " and lyrics" if config.lyrics_scheme else ""
    labels = f", with {len(config.artists or {})} artists, {len(config.genres or {})} genres{lyrics}"
    seconds = config.window_length / config.sampling_rate
    return (
        f"{kind} of level {config.level}, {config.num_hidden_layers} layers of width {config.hidden_size}, windows of "
        f"{config.n_ctx} codes ({seconds:.3g} s){labels if config.has_labels else ''}"
    )


def class_name_of(config: Any) -> str:
    """Return the name of the class of a config's model."""
    return "JukeboxVQVAE" if isinstance(config, JukeboxVQVAEConfig) else "JukeboxPrior"


def _names(class_name: str, source: str) -> str:
    return f"DEMO_MODEL, {class_name}" if "DEMO_MODEL" in loading_code(class_name, source) else class_name


def _seconds(vqvae: JukeboxVQVAEConfig) -> int:
    return max(1, -(-16 * vqvae.hop_lengths[-1] // vqvae.sampling_rate))


def _first_name(names: Mapping[str, int]) -> str | None:
    return next((name for name, row in names.items() if row), None)


def adapter_snippet(adapter: str, base: str | None) -> str:
    """Return code that loads an adapter on the prior that it was trained on."""
    base = base or "THE PRIOR"
    return f"""
from hf_jukebox import {_names("JukeboxPrior", base)}, load_adapter

prior = {loading_code("JukeboxPrior", base)}
load_adapter(prior, {as_python(adapter)})
"""


def adapter_card(
    name: str, settings: Mapping[str, Any], details: Mapping[str, Any], licence: str | None = None
) -> Card:
    """Return the card of a LoRA adapter.

    Args:
        settings: Content of adapter_config.json.
        details: Content of jukebox_adapter.json; empty for an adapter from elsewhere.
    """
    base = settings.get("base_model_name_or_path")
    level = details.get("level")
    names = {kind: ", ".join(details.get(kind) or {}) for kind in ("artists", "genres")}
    facts = {
        "prior": base and public_name(base),
        "level": level,
        "rank": settings.get("r"),
        "alpha": settings.get("lora_alpha"),
        **{f"new {kind}": each for kind, each in names.items()},
    }
    source = public_name(name)
    return Card(
        title=source,
        summary="A LoRA adapter for a prior of a Jukebox pipeline, for `hf_jukebox`.",
        snippet=adapter_snippet(source, base),
        licence=licence or details.get("weights_license"),
        sections={
            "Facts": table({key: value for key, value in facts.items() if value not in (None, "")}),
            "Use it": f"""
In a pipeline: {as_code(f"pipe.load_lora_weights({as_python(source)})")}, with a strength: \
`pipe.set_adapters("default_0", 0.7)`, or

```bash
hf-jukebox sample prompt.wav --model PIPELINE --lora {as_argument(f"{source}:0.7")} --output piece
```
""",
        },
        base_model=repositories(base),
        relation="adapter",
        tags=["lora"],
    )
