"""Dialogues as tokens with a loss mask (RecLM R16).

Turns are concatenated. Responses carry loss, padding never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from transformers import PreTrainedTokenizerBase

from raypipe.tuning.chat import IGNORED

#: which tokens carry loss: all responses (Mask), all tokens, or what Naive may mean (RO14)
Loss = Literal["responses", "first_turn", "all_tokens", "last_turn"]


class Labelled(NamedTuple):
    """Token ids [T], and labels [T] that are IGNORED where there is no loss."""

    ids: list[int]
    labels: list[int]


def tokens(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]], loss: Loss = "responses"
) -> Labelled:
    """(query, response) turns as one sequence; the last response ends with the end token.

    With `first_turn` the sequence ends after the first response.
    """
    if loss == "first_turn":
        turns = turns[:1]
    ids = [tokenizer.bos_token_id]
    labels = [IGNORED]
    for number, (query, response) in enumerate(turns):
        last = number == len(turns) - 1
        query_ids = tokenizer(query, add_special_tokens=False)["input_ids"]
        response_ids = tokenizer(response, add_special_tokens=False)["input_ids"]
        if last:
            response_ids = [*response_ids, tokenizer.eos_token_id]
        ids += [*query_ids, *response_ids]
        labels += query_ids if loss == "all_tokens" else [IGNORED] * len(query_ids)
        has_loss = last or loss != "last_turn"
        labels += response_ids if has_loss else [IGNORED] * len(response_ids)
    return Labelled(ids, labels)
