"""The values that the RecLM paper prints."""

from __future__ import annotations

import csv
import functools
from pathlib import Path

#: row of the report -> the table that has it in the paper, and its name there
PRINTED = {
    "base": ("1", "Base"),
    "augment": ("1", "Augment"),
    "wo_user": ("2", "w/o User Aug."),
    "wo_item": ("2", "w/o Item Aug."),
}

KEY = ("table", "dataset", "setting", "backbone", "variant", "metric")


@functools.cache
def _values() -> dict[tuple[str, ...], float]:
    """The columns in KEY -> the printed value."""
    values = {}
    with open(Path(__file__).parent / "published.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            values[tuple(row[column] for column in KEY)] = float(row["value"])
    return values


def value(dataset: str, setting: str, backbone: str, row: str, metric: str) -> float | None:
    """The value that RecLM prints, or None. Table 2 is full-shot.

    Args:
        backbone: its title, such as "LightGCN".
        row: a row of the report, such as "wo_user".
    """
    table, variant = PRINTED.get(row, ("", ""))
    return _values().get((table, dataset, setting, backbone, variant, metric))
