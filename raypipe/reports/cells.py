"""Cells of result tables, shared by the reports of all papers."""

from __future__ import annotations

from dataclasses import dataclass

#: a difference with a corrected p value up to this one is called statistically significant
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Cell:
    """A metric of one model.

    Attributes:
        mean: over seeds.
        std: over seeds; 0 with one seed.
        published: the value that the paper prints, or None.
        significant: whether it is significantly better than the baseline.
        best: whether no other row of the table is better.
        gain: relative improvement over the baseline as a share, or None where the table has none.
    """

    mean: float
    std: float
    published: float | None
    significant: bool
    best: bool = False
    gain: float | None = None

    def text(self, spread: bool) -> str:
        """Mean, standard deviation, star, and in brackets the published value."""
        deviation = f" ± {self.std:.4f}" if spread else ""
        star = "*" if self.significant else ""
        published = f" ({self.published:.4f})" if self.published is not None else ""
        return f"{self.mean:.4f}{deviation}{star}{published}"
