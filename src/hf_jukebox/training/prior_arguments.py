"""Options of the training of a prior."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..convert.parts import TOP_PRIOR
from .lora import TARGET_MODULES


@dataclass
class PriorArguments:
    """Options of the prior to train."""

    _argument_group_name = "prior"

    vqvae: str = field(
        default="", metadata={"help": "Folder or Hub repository of the VQ-VAE whose codes to model, or of a pipeline."}
    )
    level: int | None = field(
        default=None,
        metadata={
            "help": "0 is the finest; by default the VQ-VAE's top level, or the preset's own if it is an upsampler."
        },
    )
    preset: str = field(
        default="small_prior",
        metadata={
            "help": "Sizes: a published prior (prior_1b_lyrics, prior_5b, upsampler_level_0 ...), small_prior, "
            "small_labelled_prior, small_upsampler ..., or tiny_prior, tiny_labelled_prior, tiny_lyrics_prior, "
            "tiny_upsampler for a first try."
        },
    )
    model_config: str | None = field(
        default=None, metadata={"help": "A JSON file with settings of JukeboxPriorConfig that replace the preset's."}
    )
    prior: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub repository of a prior to fine-tune, in place of a preset; or of a pipeline, whose "
            "prior of --level, by default the top, is taken, as also by REPOSITORY/prior_0."
        },
    )
    allow_other_vqvae: bool = field(
        default=False,
        metadata={"help": "Fine-tune a prior on the codes of another VQ-VAE than the one that it was trained on."},
    )
    codes_dir: str | None = field(
        default=None,
        metadata={"help": "Folder of codes made by hf-jukebox encode, in place of recordings."},
    )
    alphabet: str | None = field(
        default=None, metadata={"help": "A text file with the characters of the lyrics, for a new prior with lyrics."}
    )
    label_dropout: float = field(
        default=0.0,
        metadata={"help": "Probability of dropping a window's artist, and its genre, to train without labels too."},
    )
    lora_rank: int = field(
        default=0,
        metadata={"help": "Rank of adapters to fine-tune in place of the whole prior; 0 for the whole prior."},
    )
    lora_alpha: float | None = field(
        default=None,
        metadata={"help": "Strength of the adapters: their output is scaled by alpha / rank; 2 * rank by default."},
    )
    lora_dropout: float = field(
        default=0.0, metadata={"help": "Probability of dropping an input of the adapters while they are trained."}
    )
    lora_target_modules: list[str] = field(
        default_factory=lambda: list(TARGET_MODULES),
        metadata={"help": f"Layers to adapt, of: {', '.join(TARGET_MODULES)}; all by default."},
    )
    sample_seconds: float | None = field(
        default=None, metadata={"help": "Length of audio samples in seconds; by default a window."}
    )

    @property
    def part(self) -> str:
        """Part of a pipeline to fine-tune."""
        return TOP_PRIOR if self.level is None else f"prior_{self.level}"

    def __post_init__(self) -> None:
        """Validate what nothing downstream would catch.

        Raises:
            ValueError: an option is out of range, or needs another one.
        """
        if not self.vqvae:
            raise ValueError("Name the VQ-VAE whose codes to model: --vqvae FOLDER_OR_REPO.")
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"--label_dropout must lie between 0 and 1, not {self.label_dropout}.")
        if self.lora_rank < 0:
            raise ValueError(f"--lora_rank must be 0 (the whole prior) or above, not {self.lora_rank}.")
        if self.lora_rank and self.prior is None:
            raise ValueError("--lora_rank adapts a trained prior: name it with --prior.")
        if not self.lora_rank and (self.lora_alpha is not None or self.lora_dropout):
            raise ValueError("--lora_alpha and --lora_dropout need --lora_rank, the rank of the adapters.")
        if self.lora_alpha is not None and not 0 < self.lora_alpha < 1e6:
            raise ValueError(f"--lora_alpha must be above 0, such as twice the rank, not {self.lora_alpha}.")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"--lora_dropout must be at least 0 and below 1, not {self.lora_dropout}.")
        unknown = [name for name in self.lora_target_modules if name not in TARGET_MODULES]
        if unknown or not self.lora_target_modules:
            raise ValueError(
                f"--lora_target_modules takes some of {', '.join(TARGET_MODULES)}, not {', '.join(unknown) or 'none'}."
            )
        if self.prior is not None and (self.alphabet or self.model_config):
            raise ValueError(
                "A fine-tuned prior keeps its sizes and its alphabet: leave out --alphabet and --model_config."
            )
