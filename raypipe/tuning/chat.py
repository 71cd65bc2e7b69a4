"""From texts to tokens with a loss mask. Loss is on the answer only (L30); a document is answer from its first token on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

IGNORED = -100


class Example(NamedTuple):
    """Token ids, and the index from which on they carry loss."""

    ids: list[int]
    learn_from: int


def instruction(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> Example:
    """Prompt and answer (with its leading space) as one sequence, closed by the end token."""
    whole = tokenizer(prompt + answer, add_special_tokens=False)["input_ids"]
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert whole[: len(before)] == before, (
        "the prompt's tokens must not change when the answer follows"
    )
    head = [tokenizer.bos_token_id]
    return Example([*head, *whole, tokenizer.eos_token_id], len(before) + 1)


def document(tokenizer: PreTrainedTokenizerBase, text: str, max_length: int) -> list[Example]:
    """A text for language-modelling, cut into pieces of at most `max_length` tokens."""
    ids = [
        tokenizer.bos_token_id,
        *tokenizer(text, add_special_tokens=False)["input_ids"],
        tokenizer.eos_token_id,
    ]
    return [Example(ids[i : i + max_length], 1) for i in range(0, len(ids) - 1, max_length - 1)]


def collate(
    batch: Sequence[Example], padding: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids, attention mask, labels), each [B, T], padded on the right; labels are IGNORED where there is no loss."""
    width = max(len(e.ids) for e in batch)
    ids = np.full((len(batch), width), padding)
    labels = np.full((len(batch), width), IGNORED)
    for row, (tokens, learn_from) in enumerate(batch):
        ids[row, : len(tokens)] = tokens
        labels[row, learn_from : len(tokens)] = tokens[learn_from:]
    mask = np.arange(width)[None, :] < np.array([len(e.ids) for e in batch])[:, None]
    return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64)), torch.from_numpy(labels)


def learned_tokens(batch: Sequence[Example]) -> int:
    """Number of tokens of a batch that carry loss."""
    return sum(len(e.ids) - max(e.learn_from, 1) for e in batch)


def batches(
    examples: Sequence[Example], batch_size: int, rng: np.random.Generator
) -> list[list[Example]]:
    """One epoch: random batches of examples of similar length, so that little is padded."""
    return [
        [examples[i] for i in rows]
        for rows in by_length([len(e.ids) for e in examples], batch_size, rng)
    ]


def by_length(
    lengths: Sequence[int], batch_size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Row numbers in random batches of similar length; one batch is shorter where the rows do not come out even."""
    order = rng.permutation(len(lengths))
    window = batch_size * 32
    chosen: list[np.ndarray] = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort([lengths[i] for i in part], kind="stable")]
        chosen += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [chosen[c] for c in rng.permutation(len(chosen))]
