"""The judge of generated attributes (Figure 8, L49): is the value right? The truth is told where it
is known.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from raypipe.prompts.contract import Completion, Rejected, Rendered

VERDICTS = ("correct", "not correct")


class Claim(NamedTuple):
    """The value of an attribute that is to be judged, and the true one where a reference has it."""

    attribute: str
    value: str
    truth: str | None


def render(noun: str, title: str, text: str, claim: Claim) -> Rendered:
    """A question about one value."""
    name = claim.attribute
    known = f" What is known about it: {text}." if text else ""
    reference = ""
    if claim.truth is not None:
        reference = f" A reference says that the {name} is {claim.truth}."
    statement = f'Claim: the {name} of the {noun} "{title}" is {claim.value}.'
    question = f"{statement}{known}{reference} Is the claim correct?"
    instruction = "Answer yes or no."
    return Rendered(f"{question} {instruction}", ("yes", "no"), VERDICTS, "write")


def parse(completion: Completion) -> str | Rejected:
    """One of VERDICTS, from the first yes or no of the answer."""
    found = re.search(r"\b(yes|no)\b", completion.answer.lower())
    if found is None:
        return Rejected("not_an_option" if completion.answer.strip() else "no_answer")
    return VERDICTS[found.group() == "no"]
