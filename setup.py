"""Packaging of hf_jukebox. What it needs to run, to train and to be tested is listed here and nowhere else."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "src/hf_jukebox/__init__.py").read_text("utf-8"), re.MULTILINE)

# `make matrix` tests both ends of the ranges; docs/dependencies.md has what came of it. An upper bound stands where a
# library has broken its users before: at the next minor for some below 1.0, at the next major for the others.
RUNTIME = [
    "accelerate>=1.10,<2",
    "diffusers>=0.42,<0.43",
    "filelock>=3.16,<5",
    "huggingface_hub>=1.33,<3",
    "jinja2>=3.1,<4",
    "numpy>=2.0,<3",
    "pillow>=11.0",
    "pydantic>=2.10,<3",
    "pyyaml>=6.0,<7",
    "rich>=13.9,<16",
    "safetensors>=0.8,<1",
    "soundfile>=0.13,<1",
    "soxr>=0.5,<2",
    "torch>=2.13,<3",
    "transformers>=5.23,<6",
    "typer>=0.26,<1",
    "Unidecode>=1.3,<2",
]
TRAIN = ["datasets>=4.4,<6", "peft>=0.21,<1", "tensorboard>=2.19,<3"]
PLAY = ["sounddevice>=0.5,<1"]
QUANTIZE = ["torchao>=0.18,<1"]
# Formatting differs between the minor versions of ruff: everyone uses the same one.
TEST = ["hypothesis>=6.100,<7", "mypy>=2.4,<3", "pytest>=9.0,<10", "pytest-xdist>=3.8,<4", "ruff>=0.17,<0.18"]

setup(
    name="hf_jukebox",
    version=VERSION[1],
    description="OpenAI's Jukebox as a modern Hugging Face-style library: a wav in, its continuation out",
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    author="the hf_jukebox authors",
    keywords=["music generation", "jukebox", "vq-vae", "transformer", "audio"],
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Topic :: Multimedia :: Sound/Audio :: Sound Synthesis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    package_dir={"": "src"},
    packages=find_packages("src"),
    package_data={"hf_jukebox": ["py.typed", "demo/**/*", "report/page.*"]},
    python_requires=">=3.11",
    install_requires=RUNTIME,
    extras_require={"train": TRAIN, "play": PLAY, "quantize": QUANTIZE, "test": TRAIN + QUANTIZE + TEST},
    entry_points={"console_scripts": ["hf-jukebox = hf_jukebox.__main__:main"]},
)
