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
    "filelock>=3.21,<5",
    "huggingface_hub>=1.33,<3",
    "jinja2>=3.1,<4",
    "numpy>=2.0,<3",
    "pillow>=11.0",
    "pydantic>=2.10.1,<3",
    "pyyaml>=6.0,<7",
    "rich>=13.9,<16",
    "safetensors>=0.8,<1",
    "soundfile>=0.13,<1",
    "soxr>=0.5,<2",
    "torch>=2.11,<3",
    "transformers>=5.23,<6",
    "typer>=0.26,<1",
    "Unidecode>=1.3,<2",
]
LORA = ["peft>=0.21,<1"]
TRAIN = [*LORA, "datasets>=4.4,<6", "tensorboard>=2.19,<3"]
STUDY = ["matplotlib>=3.11,<4", "pyarrow>=21"]
APP = ["gradio>=6.31,<7"]
PLAY = ["sounddevice>=0.5,<1"]
LOUDNESS = ["pyloudnorm>=0.2,<0.3"]
QUANTIZE = ["torchao>=0.18,<1"]
# Formatting differs between the minor versions of ruff: everyone uses the same one.
TEST = [
    "hypothesis>=6.100,<7",
    "mutagen>=1.47,<2",
    "mypy>=2.4,<3",
    "pytest>=9.0,<10",
    "pytest-xdist>=3.8,<4",
    "rpp>=0.5,<1",
    "ruff>=0.17,<0.18",
    "sybil>=10.0,<11",
    "triton>=3.6,<4; platform_system == 'Linux'",  # its interpreter; PyTorch brings it, but for builds without CUDA
    "xmlschema>=4.1,<5",
]
DOCS = [
    "furo>=2025.9",
    "ipykernel>=7.0,<8",
    "jupytext>=1.18,<2",
    "myst-nb>=1.3,<2",
    "myst-parser>=5.0,<6",
    "nbclient>=0.10,<1",
    "sphinx>=9.0,<10",
    "sphinx-copybutton>=0.5.2,<1",
    "sphinx-design>=0.7,<1",
]
RELEASE = ["build>=1.3,<2", "griffe>=2.0,<3", "pre-commit>=4.3,<5", "twine>=6.2,<8"]

# Address of the public repository, once there is one: docs/releasing.md. The links of the package and of the site, and
# the notebooks' buttons for Colab, are made from it.
REPOSITORY = ""
URLS = {
    "Source": REPOSITORY,
    "Changelog": f"{REPOSITORY}/blob/main/CHANGELOG.md",
    "Documentation": f"{REPOSITORY}/tree/main/docs",
    "Issues": f"{REPOSITORY}/issues",
}

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
    project_urls=URLS if REPOSITORY else {},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Environment :: GPU",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio :: Sound Synthesis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    package_dir={"": "src"},
    packages=find_packages("src"),
    package_data={
        "hf_jukebox": ["py.typed", "layers/*.cpp", "layers/*.h", "demo/**/*", "report/page*", "app/static/*"]
    },
    python_requires=">=3.11",
    install_requires=RUNTIME,
    extras_require={
        "lora": LORA,
        "train": TRAIN,
        "study": STUDY,
        "play": PLAY,
        "loudness": LOUDNESS,
        "quantize": QUANTIZE,
        "app": APP,
        "test": APP + TRAIN + STUDY + QUANTIZE + LOUDNESS + TEST,
        "docs": DOCS,
        "release": RELEASE,
    },
    entry_points={"console_scripts": ["hf-jukebox = hf_jukebox.__main__:main"]},
)
