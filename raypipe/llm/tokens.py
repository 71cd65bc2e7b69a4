"""Prompts and options as tokens, for any tokenizer.

Texts come from people's data: what looks like a control token in them, such as "</s>" in a title,
stays text.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from raypipe.llm import option_tree
from raypipe.llm.option_tree import OptionTree

#: what every prompt ends with whose options are scored
STEM = "Answer:"
#: options of a prompt whose tree is remembered
REMEMBERED = 20_000


class Tokens(NamedTuple):
    """A prompt and its options as token ids.

    Args:
        prompt: with the beginning-of-text token, if the tokenizer has one.
        options: None unless the mode is "score".
    """

    prompt: list[int]
    options: OptionTree | None


class _Continuations(NamedTuple):
    """Options as they go on after the stem.

    Args:
        replaced: tokens at the end of the stem that an option's first token swallows.
        tree: the options, from there on.
    """

    replaced: int
    tree: OptionTree


@functools.lru_cache(maxsize=2)
def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer of an LLM folder or hub id, loaded once per process."""
    return AutoTokenizer.from_pretrained(model)


def text_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts, without any control token, padding or truncation."""
    if not tokenizer.is_fast:
        return tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
    # the backend alone, without offsets and masks, takes half the time
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    before, backend.encode_special_tokens = backend.encode_special_tokens, True
    try:
        encodings = backend.encode_batch_fast(list(texts), add_special_tokens=False)
    finally:
        backend.encode_special_tokens = before
    return [encoding.ids for encoding in encodings]


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token after an answer: the tokenizer's own end, or a line break."""
    if tokenizer.eos_token_id is not None:
        return int(tokenizer.eos_token_id)
    return text_ids(tokenizer, ["\n"])[0][-1]


@functools.lru_cache(maxsize=200_000)
def _with_stem(model: str, option: str) -> tuple[int, ...]:
    return tuple(text_ids(load_tokenizer(model), [STEM + option])[0])


def _shared(stem: Sequence[int], whole: Sequence[int]) -> int:
    """How many first tokens both share, if `whole` is to have one more."""
    number = 0
    while number < min(len(stem), len(whole) - 1) and stem[number] == whole[number]:
        number += 1
    return number


@functools.lru_cache(maxsize=REMEMBERED)
def continuations(model: str, options: tuple[str, ...]) -> _Continuations:
    """The tree of the options after the stem."""
    tokenizer = load_tokenizer(model)
    stem = text_ids(tokenizer, [STEM])[0]
    wholes = [_with_stem(model, option) for option in options]
    start = min(_shared(stem, whole) for whole in wholes)
    tree = option_tree.build([whole[start:] for whole in wholes], end_token(tokenizer))
    return _Continuations(len(stem) - start, tree)


def tokenize_prompts(
    model: str, prompts: Sequence[str], options: Sequence[Sequence[str]], modes: Sequence[str]
) -> list[Tokens]:
    """The tokens of many prompts, without padding or truncation; faster than one by one."""
    tokenizer = load_tokenizer(model)
    start = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    tokens = []
    for ids, texts, mode in zip(text_ids(tokenizer, prompts), options, modes, strict=True):
        if mode != "score" or not texts:
            tokens.append(Tokens([*start, *ids], None))
            continue
        replaced, tree = continuations(model, tuple(texts))
        tokens.append(Tokens([*start, *ids[: len(ids) - replaced]], tree))
    return tokens


def tokenize_prompt(model: str, prompt: str, options: Sequence[str], mode: str) -> Tokens:
    """The tokens of one prompt."""
    return tokenize_prompts(model, [prompt], [options], [mode])[0]
