"""Prompts and options as tokens: what an engine is asked for, whatever the tokenizer.

An option is scored by the first token that it adds to the stem "Answer:". Options that share their first token get the same
score and so keep their order; `ambiguous` counts them, so that a report shows when labels should be used.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
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


def tokens_of(
    folder: str, prompts: Sequence[str], options: Sequence[Sequence[str]], modes: Sequence[str]
) -> list[Tokens]:
    """The tokens of prompts, none padded or cut; many at once take less time than one by one."""
    encode = tokenizer(folder)
    head = [encode.bos_token_id] if encode.bos_token_id is not None else []
    if encode.is_fast:  # without offsets and masks, which nobody asked for, in half of the time
        backend = encode.backend_tokenizer
        backend.no_padding()
        backend.no_truncation()
        made = [e.ids for e in backend.encode_batch_fast(list(prompts), add_special_tokens=False)]
    else:
        made = encode(list(prompts), add_special_tokens=False)["input_ids"]
    return [
        Tokens([*head, *ids], [first_token(folder, o) for o in own] if mode == "score" else [])
        for ids, own, mode in zip(made, options, modes, strict=True)
    ]


def tokens(folder: str, prompt: str, options: Sequence[str], mode: str) -> Tokens:
    """The tokens of one prompt."""
    return tokens_of(folder, [prompt], [options], [mode])[0]
