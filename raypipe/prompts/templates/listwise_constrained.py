"""Listwise re-ranking in writing, as the paper has it (L16 to L18): the prompt of
listwise_logprobs.py, and an answer that names candidates one after the other, best first.

A grammar allows only candidates in the answer. A candidate may be named again; its first place
counts. Candidates that are not named follow in the conventional order (LO23).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from raypipe.prompts import contract
from raypipe.prompts.contract import Completion, Person, Rejected, Rendered, Style, Words

#: candidates that are named; the k' of the paper (L24)
PLACES = 10

_SPECIAL = re.compile(r"([\\.^$*+?{}\[\]|()])")


def render(
    words: Words, person: Person, titles: Sequence[str], payload: Sequence[str], style: Style
) -> Rendered:
    """A prompt that asks for the best of `titles` in order, under the grammar of `pattern`;
    payload: their item ids.
    """
    places = min(PLACES, len(titles))

    def question(names_candidates: bool) -> str:
        group = f"{places} of the candidates" if names_candidates else f"{places} {words.nouns}"
        return (
            f"Which {group} will the user most likely {words.verb_base} next? "
            "List them, the most likely first."
        )

    prompt = contract.choice(words, person, titles, payload, style, question)
    distinct = dict.fromkeys(prompt.options)
    one = "|".join(_SPECIAL.sub(r"\\\1", option) for option in distinct)
    pattern = f"({one})(,({one})){{{places - 1}}}"
    return prompt._replace(mode="form", pattern=pattern)


def named(answer: str, options: Sequence[str]) -> list[str]:
    """The options that an answer names in its order, repeated ones as often; an end that was cut
    off names none.
    """
    known = sorted({option.strip() for option in options}, key=len, reverse=True)
    one = re.compile(rf"\s*({'|'.join(map(re.escape, known))})\s*(?:,|$)")
    found, at = [], 0
    while match := one.match(answer, at):
        found.append(match[1])
        at = match.end()
    return found


def parse(
    completion: Completion, options: Sequence[str], payload: Sequence[str]
) -> list[tuple[str, float]] | Rejected:
    """Item ids with minus their place; all that were not named share the place behind the last.

    Rejected: no_answer, where no candidate is named.
    """
    order = list(dict.fromkeys(named(completion.answer, options)))
    if not order:
        return Rejected("no_answer")
    place = {option: -float(n) for n, option in enumerate(order, 1)}
    return [
        (item, place.get(o.strip(), -1.0 - len(order)))
        for o, item in zip(options, payload, strict=True)
    ]
