"""Prompts and options as tokens, for any tokenizer.

An option is scored by the first token that it adds to the stem "Answer:". Options that share their
first token get the same score and keep their order.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

from transformers import AutoTokenizer, PreTrainedTokenizerBase

STEM = "Answer:"


class Tokens(NamedTuple):
    """A prompt and its options as token ids.

    Args:
        prompt: with the beginning-of-text token.
        options: the first token of each option; empty unless the mode is "score".
    """

    prompt: list[int]
    options: list[int]


@functools.lru_cache(maxsize=2)
def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer of an LLM folder or hub id, loaded once per process."""
    return AutoTokenizer.from_pretrained(model)


@functools.lru_cache(maxsize=200_000)
def first_token(model: str, option: str) -> int:
    """The first token that `option` adds after the stem."""
    tokenizer = load_tokenizer(model)
    stem = tokenizer(STEM, add_special_tokens=False)["input_ids"]
    whole = tokenizer(STEM + option, add_special_tokens=False)["input_ids"]
    return whole[len(stem)] if whole[: len(stem)] == stem and len(whole) > len(stem) else whole[-1]


def tokenize_prompts(
    model: str, prompts: Sequence[str], options: Sequence[Sequence[str]], modes: Sequence[str]
) -> list[Tokens]:
    """The tokens of many prompts, without padding or truncation; faster than one by one."""
    tokenizer = load_tokenizer(model)
    if tokenizer.is_fast:  # the backend alone, without offsets and masks, takes half the time
        backend = tokenizer.backend_tokenizer
        backend.no_padding()
        backend.no_truncation()
        encodings = backend.encode_batch_fast(list(prompts), add_special_tokens=False)
        prompt_ids = [encoding.ids for encoding in encodings]
    else:
        prompt_ids = tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
    start = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    tokens = []
    for ids, texts, mode in zip(prompt_ids, options, modes, strict=True):
        first = [first_token(model, text) for text in texts] if mode == "score" else []
        tokens.append(Tokens([*start, *ids], first))
    return tokens


def tokenize_prompt(model: str, prompt: str, options: Sequence[str], mode: str) -> Tokens:
    """The tokens of one prompt."""
    return tokenize_prompts(model, [prompt], [options], [mode])[0]
