"""Dialogues as tokens with a loss mask (RecLM R16): turns are concatenated, and loss falls on responses, never on padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from transformers import PreTrainedTokenizerBase

from raypipe.tuning.chat import IGNORED

#: which tokens carry loss: those of all responses (Mask), all tokens, or the readings of Naive (RO14)
Loss = Literal["responses", "first_turn", "all_tokens", "last_turn"]


class Labelled(NamedTuple):
    """Token ids [T], and labels [T] that are IGNORED where there is no loss."""

    ids: list[int]
    labels: list[int]


def tokens(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]], loss: Loss = "responses"
) -> Labelled:
    """(query, response) turns as one sequence; the end token closes it and is part of the last response.

    With `first_turn` the sequence ends after the first response.
    """
    if loss == "first_turn":
        turns = turns[:1]
    ids = [tokenizer.bos_token_id]
    labels = [IGNORED]
    for number, (query, response) in enumerate(turns):
        last = number == len(turns) - 1
        asked = tokenizer(query, add_special_tokens=False)["input_ids"]
        said = tokenizer(response, add_special_tokens=False)["input_ids"] + (
            [tokenizer.eos_token_id] if last else []
        )
        learnt = last or loss != "last_turn"
        ids += [*asked, *said]
        labels += asked if loss == "all_tokens" else [IGNORED] * len(asked)
        labels += said if learnt else [IGNORED] * len(said)
    return Labelled(ids, labels)
