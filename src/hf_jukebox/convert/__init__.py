"""Existing checkpoints, and parts of one's own, as pipeline folders."""

from .assemble import assemble
from .openai import convert_openai
from .transformers4 import convert_transformers

__all__ = ["assemble", "convert_openai", "convert_transformers"]
