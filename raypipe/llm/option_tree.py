"""Options as a tree of tokens, so that every tokenizer tells them apart.

Where all options begin with different tokens, one look at the next token scores them. Other
tokenizers split " 1" to " 5" after a common space, or titles after "The". Then the common tokens
belong to the prompt, and each place where options part is looked at.

The score of an option is the log-probability of its token at the first place, plus, at each later
place that it passes, the log-probability of its token among the tokens that options have there. So
tokens without a choice cost nothing, a long title has no disadvantage, and options that share
their first token divide its probability among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

#: the tokens of an option
Ids = tuple[int, ...]


class OptionTree(NamedTuple):
    """The places where options part.

    Args:
        prefixes: for each place, the tokens between the prompt and it; the first place comes first.
        choices: for each place, the tokens with which options go on there.
        paths: for each option, the places that it passes and its choice there, in turn:
            [place, choice, place, choice, ...].
    """

    prefixes: list[list[int]]
    choices: list[list[int]]
    paths: list[list[int]]

    def scores(self, logprobs: Sequence[Sequence[float]]) -> list[float]:
        """The score of each option.

        Args:
            logprobs: for each place, the log-probabilities of its choices among all tokens.
        """
        shares = [list(logprobs[0])]
        for values in logprobs[1:]:
            largest = max(values)
            total = largest + math.log(sum(math.exp(value - largest) for value in values))
            shares.append([value - total for value in values])
        scores = []
        for path in self.paths:
            passed = zip(path[::2], path[1::2], strict=True)
            scores.append(sum(shares[place][choice] for place, choice in passed))
        return scores


def build(options: Sequence[Ids], end: int) -> OptionTree:
    """The tree of some options; equal ones have equal paths.

    Args:
        options: none is empty.
        end: the token that ends an answer. It tells an option from one that it begins.
    """
    tree = OptionTree([], [], [[] for _ in options])
    members: dict[Ids, list[int]] = {}
    for number, ids in enumerate(options):
        members.setdefault((*ids, end), []).append(number)
    if len(members) == 1:  # nothing to tell apart: the first token stands for the option
        _add_place(tree, (), {ids[0]: numbers for ids, numbers in members.items()})
        return tree
    pending: list[tuple[int, list[Ids]]] = [(0, list(members))]
    while pending:
        depth, group = pending.pop(0)
        depth = _common(group, depth)
        by_token: dict[int, list[Ids]] = {}
        for ids in group:
            by_token.setdefault(ids[depth], []).append(ids)
        numbers_of = {}
        for token, part in by_token.items():
            numbers_of[token] = [number for ids in part for number in members[ids]]
            if len(part) > 1:
                pending.append((depth + 1, part))
        _add_place(tree, group[0][:depth], numbers_of)
    return tree


def _common(group: Sequence[Ids], depth: int) -> int:
    """How many first tokens all of the group share, at least `depth`."""
    first = group[0]
    while all(ids[depth] == first[depth] for ids in group):
        depth += 1
    return depth


def _add_place(tree: OptionTree, prefix: Ids, numbers_of: dict[int, list[int]]) -> None:
    """Add a place with the options that take each of its choices."""
    for choice, numbers in enumerate(numbers_of.values()):
        for number in numbers:
            tree.paths[number].extend((len(tree.choices), choice))
    tree.prefixes.append(list(prefix))
    tree.choices.append(list(numbers_of))
