"""Paired tests over users, with effect size and Holm's correction."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

#: a difference of so many standard errors is found four times in five by a two-sided test at 5 %
POWER_80 = float(stats.norm.ppf(0.975) + stats.norm.ppf(0.8))


class Paired(NamedTuple):
    """Result of a paired t-test: mean difference, its p value, Cohen's d of the differences, and the least true difference that
    so many users could show (power 80 % at 5 %).
    """

    difference: float
    p: float
    effect: float
    detectable: float


def paired(ours_U: np.ndarray, theirs_U: np.ndarray) -> Paired:
    """Two-sided paired t-test of per-user values; p is 1 where no user differs."""
    delta = np.asarray(ours_U, dtype=float) - np.asarray(theirs_U, dtype=float)
    spread = delta.std(ddof=1) if len(delta) > 1 else 0.0
    if spread == 0:
        return Paired(float(delta.mean()) if len(delta) else 0.0, 1.0, 0.0, 0.0)
    mean, p = float(delta.mean()), float(stats.ttest_1samp(delta, 0.0).pvalue)
    return Paired(mean, p, mean / float(spread), POWER_80 * float(spread) / len(delta) ** 0.5)


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    running = 0.0
    for i, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - i) * p_values[index]))
        adjusted[index] = running
    return adjusted.tolist()
