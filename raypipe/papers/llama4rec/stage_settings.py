"""The settings that decide a stage's output, as parts of its content key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raypipe.papers.llama4rec.config import Llama4RecConfig

#: (task, backbone)
Pair = tuple[str, str]


def run_pairs(config: Llama4RecConfig) -> list[Pair]:
    """The tasks of the run with their backbones."""
    return [(task, name) for task in config.tasks for name in config.backbones[task]]


def hint_pairs(config: Llama4RecConfig) -> list[Pair]:
    """The tasks that the LLM is tuned for, with the backbones whose hints it learns from."""
    return [(task, name) for task, names in config.hint_backbones.items() for name in names]


def prompt_settings(
    config: Llama4RecConfig, seeds: Sequence[int], pairs: Sequence[Pair]
) -> list[Any]:
    """The settings that decide what prompts say."""
    lengths = [config.style, config.rating_history_length]
    return [config.prompts.model_dump(), *lengths, list(pairs), list(seeds)]


def rerank_settings(config: Llama4RecConfig) -> list[Any]:
    """The settings that decide what re-ranking and rating ask; where they alone change, the LLM is
    not tuned anew.
    """
    prompts = prompt_settings(config, config.repetitions, run_pairs(config))
    return [*prompts, config.k_prime, config.rerank.model_dump()]


def augmentation_settings(config: Llama4RecConfig) -> dict[str, Any]:
    """The settings that decide what the LLM is asked to add."""
    return config.augment.model_dump(exclude={"warm_start", "rounds"})
