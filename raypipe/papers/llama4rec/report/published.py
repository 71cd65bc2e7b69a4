"""The values that the Llama4Rec paper prints."""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import Literal, NamedTuple

from raypipe.backbones import registry

FILE = Path(__file__).parent / "published.csv"
TABLES = ("II", "IV", "V", "VI")

#: names of the variants in the paper
TITLES = {
    "base": "Base",
    "ift": "IFT",
    "wo_da": "w/o DA",
    "wo_pa": "w/o PA",
    "wo_aa": "w/o AA",
    "llama4rec": "Llama4Rec",
}

#: what a gain is measured against: Base, or for each metric the better of Base and IFT
Baseline = Literal["base", "better"]


class Claim(NamedTuple):
    """A mean improvement that the paper claims over all its datasets (L42).

    Attributes:
        baseline: what the paper measures the improvement against.
        gain: the improvement as a share.
    """

    baseline: Baseline
    gain: float


CLAIMS = {
    "direct": Claim("better", 0.1465),
    "sequential": Claim("better", 0.1421),
    "rating": Claim("base", 0.0310),
}


@functools.cache
def _values() -> dict[tuple[str, str, str, str], float]:
    """(dataset, backbone, variant, metric) -> the printed value."""
    values = {}
    with open(FILE, newline="") as stream:
        for row in csv.DictReader(stream):
            if row["table"] in TABLES:
                key = row["dataset"], row["backbone"], row["variant"], row["metric"]
                values[key] = float(row["value"])
    return values


def value(dataset: str, backbone: str, variant: str, metric: str) -> float | None:
    """The value that Llama4Rec prints in Tables II, IV, V or VI, or None.

    The rating task has one row for IFT, which the paper calls "LLaMA".
    """
    printed = _values().get((dataset, registry.title(backbone), TITLES[variant], metric))
    if printed is None and variant == "ift":
        return _values().get((dataset, "LLaMA", "IFT", metric))
    return printed
