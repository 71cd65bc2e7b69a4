"""Gains over a baseline: how large, whether significant, and as words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from raypipe.reports.cells import SIGNIFICANT
from raypipe.reports.wording import count, listed, percent, signed_percent


@dataclass(frozen=True)
class Gain:
    """Relative improvement over a baseline in one metric.

    Attributes:
        share: the improvement as a share; positive is better, also for errors.
        p: corrected p value, or None where the difference was not tested.
    """

    share: float
    p: float | None

    @property
    def significant(self) -> bool:
        return self.p is not None and self.p <= SIGNIFICANT

    @property
    def significantly_better(self) -> bool:
        return self.significant and self.share > 0

    @property
    def significantly_worse(self) -> bool:
        return self.significant and self.share < 0


@dataclass(frozen=True)
class Comparison:
    """A model against one baseline in all results of a table.

    Attributes:
        gains: one for each backbone and metric.
        claimed: the mean gain that the paper claims over this baseline, or None.
    """

    gains: list[Gain]
    claimed: float | None = None

    @property
    def mean(self) -> float:
        return float(np.mean([gain.share for gain in self.gains]))

    @property
    def starred_mean(self) -> str:
        """The mean gain as text. A star: some results improve significantly, and none worsens."""
        return signed_percent(self.mean) + ("*" if self.verdict == "gain" else "")

    @property
    def better(self) -> int:
        """Number of significant improvements."""
        return sum(gain.significantly_better for gain in self.gains)

    @property
    def worse(self) -> int:
        """Number of significant losses."""
        return sum(gain.significantly_worse for gain in self.gains)

    @property
    def tested(self) -> bool:
        return all(gain.p is not None for gain in self.gains)

    @property
    def verdict(self) -> str:
        """One of VERBS. A mean gain counts only where significant results agree with it."""
        if self.better and not self.worse and self.mean > 0:
            return "gain"
        if self.worse and not self.better and self.mean < 0:
            return "loss"
        if self.better or self.worse:
            return "mixed"
        return "none" if self.tested else "untested"

    @property
    def significance(self) -> str:
        """The number of significant results, as a table shows it."""
        if not self.tested:
            return "not tested in this report"
        results = len(self.gains)
        if not self.better and not self.worse:
            return f"none of {results} results is significant" if results > 1 else "not significant"
        parts = []
        if self.better:
            parts.append(f"{self.better} significantly better")
        if self.worse:
            parts.append(f"{self.worse} significantly worse")
        return f"{listed(parts)}, of {results}"

    @property
    def claim(self) -> str:
        """The paper's claim, or ""."""
        return signed_percent(self.claimed, 2) if self.claimed is not None else ""


#: verdict -> verb of its clause, and the conjunction between its objects
VERBS = {
    "gain": ("improves", "and"),
    "loss": ("worsens", "and"),
    "mixed": ("has mixed effects on", "and"),
    "none": ("makes no statistically significant difference to", "or"),
    "untested": ("has effects that were not tested for significance on", "and"),
}


def effects(comparisons: Mapping[str, Comparison]) -> str:
    """The predicate of a sentence: "improves A by 3.2% (...); it makes no ... difference to B".

    Args:
        comparisons: what is improved or not, such as "rating prediction" -> its comparison.
    """
    phrases: dict[str, list[str]] = {}
    for name, comparison in comparisons.items():
        phrases.setdefault(comparison.verdict, []).append(_phrase(name, comparison))
    clauses = []
    for verdict, (verb, conjunction) in VERBS.items():
        if verdict in phrases:
            clauses.append(f"{verb} {listed(phrases[verdict], conjunction)}")
    return "; it ".join(clauses)


def _phrase(name: str, comparison: Comparison) -> str:
    """An object of the sentence, with its mean gain and the number of significant results."""
    verdict = comparison.verdict
    if verdict in ("none", "untested"):
        mean = " on average" if len(comparison.gains) > 1 else ""
        return f"{name} ({signed_percent(comparison.mean)}{mean})"
    results = count(len(comparison.gains), "result")
    if verdict == "mixed":
        return (
            f"{name} ({signed_percent(comparison.mean)} on average, significantly better in"
            f" {comparison.better} and worse in {comparison.worse} of {results})"
        )
    number, significant = len(comparison.gains), comparison.better or comparison.worse
    if number == 1:
        return f"{name} by {percent(comparison.mean)} (statistically significant)"
    share = f"all {results}" if number == significant else f"{significant} of {results}"
    return f"{name} by {percent(comparison.mean)} on average (statistically significant in {share})"


def one_seed(seeds: int) -> str:
    """A caution for runs with one seed; else ""."""
    if seeds > 1:
        return ""
    return "The run has one seed, so another training may give a different result."
