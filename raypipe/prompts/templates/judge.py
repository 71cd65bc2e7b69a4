"""The judge of generated attributes (Figure 8, L49): is the value right? The truth is told where it is known."""

from __future__ import annotations

import re

from raypipe.prompts.contract import Completion, Rejected, Rendered

VERDICTS = ("correct", "not correct")


def render(noun: str, title: str, text: str, name: str, value: str, truth: str | None) -> Rendered:
    """A question about one value; `truth` is a reference's value."""
    known = f" Known of it: {text}." if text else ""
    reference = f" A reference says that the {name} is {truth}." if truth is not None else ""
    asked = f'Somebody says that the {name} of the {noun} "{title}" is {value}.{known}{reference} Is that correct?'
    return Rendered(
        f"{asked} Answer with the one word yes or no.", ("yes", "no"), VERDICTS, "write"
    )


def parse(completion: Completion) -> str | Rejected:
    """One of VERDICTS, from the first yes or no of the answer."""
    found = re.search(r"\b(yes|no)\b", completion.answer.lower())
    if found is None:
        return Rejected("not_an_option" if completion.answer.strip() else "no_answer")
    return VERDICTS[found.group() == "no"]
