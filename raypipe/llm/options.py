"""Prompts and options as tokens: what an engine is asked for, whatever the tokenizer.

An option is scored by the first token that it adds to the stem "Answer:". Options that share their first token get the same
score and so keep their order; `ambiguous` counts them, so that a report shows when labels should be used.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from transformers import AutoTokenizer, PreTrainedTokenizerBase

STEM = "Answer:"


class Tokens(NamedTuple):
    """prompt: token ids with the beginning-of-text token; options: first token of each (empty in mode "choose")."""

    prompt: list[int]
    options: list[int]


@functools.lru_cache(maxsize=2)
def tokenizer(folder: str) -> PreTrainedTokenizerBase:
    """The tokenizer of an LLM folder or hub id, loaded once per process."""
    return AutoTokenizer.from_pretrained(folder)


@functools.lru_cache(maxsize=200_000)
def first_token(folder: str, option: str) -> int:
    """The first token that `option` adds after the stem."""
    encode = tokenizer(folder)
    stem = encode(STEM, add_special_tokens=False)["input_ids"]
    whole = encode(STEM + option, add_special_tokens=False)["input_ids"]
    return whole[len(stem)] if whole[: len(stem)] == stem and len(whole) > len(stem) else whole[-1]


def tokens(folder: str, prompt: str, options: list[str], mode: str) -> Tokens:
    """The tokens of one prompt."""
    encode = tokenizer(folder)
    head = [encode.bos_token_id] if encode.bos_token_id is not None else []
    return Tokens(
        [*head, *encode(prompt, add_special_tokens=False)["input_ids"]],
        [first_token(folder, o) for o in options] if mode == "score" else [],
    )
