"""The fixtures of the tiny LLMs. They import torch, so only these tests load them."""

from tests.support.tiny_llms import alone, models

__all__ = ["alone", "models"]
