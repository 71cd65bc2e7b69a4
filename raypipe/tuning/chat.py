"""Texts as tokens with a loss mask.

Of an instruction only the answer carries loss (L30), of a document every token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

IGNORED = -100


class Example(NamedTuple):
    """Token ids, and the index of the first one that carries loss."""

    ids: list[int]
    learn_from: int


def instruction(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> Example:
    """Prompt and answer (with its leading space) as one sequence with start and end tokens."""
    whole = tokenizer(prompt + answer, add_special_tokens=False)["input_ids"]
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert whole[: len(prompt_ids)] == prompt_ids, (
        "the prompt's tokens must not change when the answer follows"
    )
    ids = [tokenizer.bos_token_id, *whole, tokenizer.eos_token_id]
    return Example(ids, len(prompt_ids) + 1)


def document(tokenizer: PreTrainedTokenizerBase, text: str, max_length: int) -> list[Example]:
    """A text for language modelling, cut into pieces of at most `max_length` tokens."""
    ids = [
        tokenizer.bos_token_id,
        *tokenizer(text, add_special_tokens=False)["input_ids"],
        tokenizer.eos_token_id,
    ]
    return [Example(ids[i : i + max_length], 1) for i in range(0, len(ids) - 1, max_length - 1)]


def collate(
    batch: Sequence[Example], padding: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids, attention mask, labels), each [B, T] and padded on the right.

    Labels are IGNORED where there is no loss.
    """
    lengths = np.array([len(example.ids) for example in batch])
    width = int(lengths.max())
    ids = np.full((len(batch), width), padding)
    labels = np.full((len(batch), width), IGNORED)
    for row, (tokens, learn_from) in enumerate(batch):
        ids[row, : len(tokens)] = tokens
        labels[row, learn_from : len(tokens)] = tokens[learn_from:]
    mask = np.arange(width)[None, :] < lengths[:, None]
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64)), torch.from_numpy(labels)


def learned_tokens(batch: Sequence[Example]) -> int:
    """The number of tokens of a batch that carry loss."""
    return sum(len(example.ids) - max(example.learn_from, 1) for example in batch)


def batches(
    examples: Sequence[Example], batch_size: int, rng: np.random.Generator
) -> list[list[Example]]:
    """One epoch: random batches of examples of similar length, so that little is padded."""
    lengths = [len(example.ids) for example in examples]
    epoch = []
    for rows in by_length(lengths, batch_size, rng):
        epoch.append([examples[row] for row in rows])
    return epoch


def by_length(
    lengths: Sequence[int], batch_size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Row numbers in random batches of similar length; one batch takes the rest and is shorter."""
    order = rng.permutation(len(lengths))
    window = batch_size * 32
    chosen: list[np.ndarray] = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort([lengths[i] for i in part], kind="stable")]
        chosen += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [chosen[c] for c in rng.permutation(len(chosen))]
