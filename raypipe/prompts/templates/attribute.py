"""P_3, attributes by in-context examples (L10, LO19): worked examples, then the item whose value is
asked for.

One categorical value is asked for, among the known values and "unknown"; the answer is written
under that constraint.
"""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.prompts.contract import Completion, Rejected, Rendered, best_option

UNKNOWN = "unknown"


def line(title: str, text: str, name: str, value: str = "") -> str:
    """One item as a line; language-modelling reads the same line."""
    known = f"; {text}" if text else ""
    return f'"{title}"{known}; {name}:' + (f" {value}" if value else "")


def render(
    examples: Sequence[tuple[str, str, str]],
    item: tuple[str, str, str],
    name: str,
    values: Sequence[str],
) -> Rendered:
    """A prompt for the value of one item.

    Args:
        examples: (title, text, value) of items whose value is known.
        item: (title, text, id) of the one in question.
        name: the attribute.
        values: the allowed answers beside "unknown".
    """
    shown = [line(title, text, name, value) for title, text, value in examples]
    answers = (*values, UNKNOWN)
    question = line(item[0], item[1], name)
    options = tuple(f" {answer}" for answer in answers)
    return Rendered("\n".join([*shown, question]), options, answers, "choose")


def parse(completion: Completion, options: Sequence[str], payload: Sequence[str]) -> str | Rejected:
    """The value, possibly "unknown"."""
    return best_option(completion, options, payload)
