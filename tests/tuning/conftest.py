"""The tiny LLMs, for this room alone: they bring torch."""

from tests.support.tiny_llms import alone, models

__all__ = ["alone", "models"]
