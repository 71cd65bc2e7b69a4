"""Paired tests over users and seeds, with effect size and Holm's correction.

S = seeds, U = users.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

#: a two-sided test at 5 % detects a difference of this many standard errors with power 80 %
POWER_80 = float(stats.norm.ppf(0.975) + stats.norm.ppf(0.8))


class PairedTest(NamedTuple):
    """Result of a paired t-test.

    Attributes:
        difference: mean difference.
        p: p value.
        effect: Cohen's d of the users' differences.
        detectable: smallest true difference that the test detects with power 80 % at the 5 % level.
    """

    difference: float
    p: float
    effect: float
    detectable: float


def paired_test(ours: np.ndarray, theirs: np.ndarray) -> PairedTest:
    """Two-sided paired t-test of values by user [U], or by seed and user [S, U].

    p is 1 where nothing differs. With several seeds, users and seeds are two crossed random
    effects: the difference must exceed what other users and other seeds would show. Otherwise
    thousands of users would make the luck of a few fits look certain. The degrees of freedom are
    Satterthwaite's (Clark, "The Language-as-Fixed-Effect Fallacy", 1973, quasi F). In simulations
    the false positive rate stays at 5 % from three seeds on; with two it can reach 13 %.
    """
    delta_SU = np.atleast_2d(np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float))
    s, u = delta_SU.shape
    mean = float(delta_SU.mean()) if u else 0.0
    by_user = delta_SU.mean(0)
    spread = float(by_user.std(ddof=1)) if u > 1 else 0.0
    if spread == 0:
        return PairedTest(mean, 1.0, 0.0, 0.0)
    mean_square = s * spread**2  # that of users, in the analysis of variance
    freedom: float = u - 1
    if s > 1:
        by_seed = delta_SU.mean(1)
        seeds = u * float(by_seed.var(ddof=1))
        rest = float(((delta_SU - by_seed[:, None] - by_user + mean) ** 2).sum()) / (
            (s - 1) * (u - 1)
        )
        if seeds > rest:  # otherwise the seeds add no variance of their own
            parts = mean_square**2 / (u - 1) + seeds**2 / (s - 1) + rest**2 / ((s - 1) * (u - 1))
            mean_square += seeds - rest
            freedom = mean_square**2 / parts
    error = (mean_square / (s * u)) ** 0.5
    return PairedTest(
        mean, float(2 * stats.t.sf(abs(mean) / error, freedom)), mean / spread, POWER_80 * error
    )


def group_test(values: np.ndarray, first_U: np.ndarray, second_U: np.ndarray) -> PairedTest:
    """Two-sided test of the mean of one group of users against the mean of another.

    Users and seeds are both random effects, as in `paired_test`, to which this reduces: after each
    seed's mean is removed, the difference is a mean over users with weights n / n_first and
    -n / n_second. A seed that moves all users alike does not move the difference. In simulations
    with five seeds the false positive rate stays at 5 %.

    Args:
        values: by user [U], or by seed and user [S, U].
        first_U, second_U: [U] bool, membership in each group; both have at least two users.

    Returns:
        The test; `effect` is Cohen's d of the users' values.
    """
    in_either = first_U | second_U
    group_SU = np.atleast_2d(np.asarray(values, dtype=float))[:, in_either]
    first = first_U[in_either]
    n, parts = first.size, (group_SU[:, first], group_SU[:, ~first])
    centre_S = (parts[0].mean(1) + parts[1].mean(1)) / 2
    weight_U = np.where(first, n / first.sum(), -n / (~first).sum())
    test = paired_test((group_SU - centre_S[:, None]) * weight_U, np.zeros(n))
    spread = float(np.mean([part.mean(0).var(ddof=1) for part in parts])) ** 0.5
    return test._replace(effect=test.difference / spread if spread else 0.0)


def single_seed_caution(seeds: int) -> str:
    """What a reader must know about p values from a single seed; empty for several seeds."""
    return (
        " With one seed, p covers the variation between users only, not between trainings."
        if seeds == 1
        else ""
    )


def format_p(p: float) -> str:
    """A p value for print: 0.012, or <0.001."""
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    running = 0.0
    for i, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - i) * p_values[index]))
        adjusted[index] = running
    return adjusted.tolist()
