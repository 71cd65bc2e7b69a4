"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def row(*cells: object) -> str:
    """One line of a table; an empty string makes an empty cell."""
    texts = []
    for cell in cells:
        texts.append(f" {cell} " if cell != "" else " ")
    return "|" + "|".join(texts) + "|"


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table: its heading, the rule below, and its rows."""
    lines = [row(*names), "|" + "---|" * len(names)]
    for cells in rows:
        lines.append(row(*cells))
    return lines
