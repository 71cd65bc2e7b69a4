"""P_3, attributes by in-context examples (L10, LO19): worked examples, then the item whose value is asked for.

One categorical value is asked for, among the known values and "unknown"; the answer is written under that constraint.
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
    title: str,
    text: str,
    name: str,
    values: Sequence[str],
    item_id: str,
) -> Rendered:
    """Examples are (title, text, value)."""
    shown = [line(t, x, name, v) for t, x, v in examples]
    answers = (*values, UNKNOWN)
    return Rendered(
        "\n".join([*shown, line(title, text, name)]),
        tuple(f" {a}" for a in answers),
        answers,
        "choose",
    )


def parse(completion: Completion, options: Sequence[str], payload: Sequence[str]) -> str | Rejected:
    """The value, possibly "unknown"."""
    return best_option(completion, options, payload)
