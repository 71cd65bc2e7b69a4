"""A mixer learnt on validation, beside eq. 5 (L53): the LLM's weight as a logistic function of the long-tail coefficient.

Eq. 5 can only give more weight to users of the tail. Here the data says for whom the LLM is worth more, by two numbers a
backbone: few enough for some hundred validation users.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from raypipe.papers.llama4rec import aggregation

FOLDS = 5
#: pull of both numbers to zero, that is to equal weights, in units of the mean loss
PULL = 1e-3


def learn(cases: Sequence[dict[str, Any]], picked: Sequence[np.ndarray]) -> tuple[float, float]:
    """(b_0, b_1) of `aggregation.learned_weight` that make the truth most probable.

    Ratings: least squared error. Lists: the softmax over the k' candidates of the mixed utilities, at a temperature that is
    learnt too; users whose target is not among the candidates, or not among those that were rated, say nothing.

    Args:
        cases: those of choose.py, one a seed.
        picked: of each case the rows of the users to learn from.
    """
    ranked = cases[0]["task"] != "rating"
    kept = [
        rows[_told(case, rows)] if ranked else rows
        for case, rows in zip(cases, picked, strict=True)
    ]
    names = ("ell", "llm", "rec", "at" if ranked else "truth")
    learnt = [[case[name][rows] for name in names] for case, rows in zip(cases, kept, strict=True)]

    def loss(b: np.ndarray) -> float:
        parts = []
        for ell, llm, rec, true in learnt:
            alpha = aggregation.learned_weight(ell, b[0], b[1])
            if ranked:
                utility = np.exp(b[2]) * aggregation.mixed(llm, rec, alpha)
                parts.append(logsumexp(utility, axis=1) - utility[np.arange(len(true)), true - 1])
            else:
                parts.append((aggregation.blend_ratings(llm, rec, alpha) - true) ** 2)
        losses = np.concatenate(parts)
        return float((losses.mean() if len(losses) else 0.0) + PULL * (b[0] ** 2 + b[1] ** 2))

    # without derivatives: utilities are rounded, so that small steps change nothing
    found = minimize(
        loss,
        np.zeros(3),
        method="Nelder-Mead",
        options={"maxiter": 400, "xatol": 1e-3, "fatol": 1e-6},
    )
    return float(found.x[0]), float(found.x[1])


def _told(case: dict[str, Any], rows: np.ndarray) -> np.ndarray:
    """[rows] whether the LLM said something of the user's target."""
    at = case["at"][rows]
    return (at > 0) & (case["llm"][rows, np.maximum(at - 1, 0)] > -np.inf)


def cross_fitted(
    cases: Sequence[dict[str, Any]], quality: Callable[[dict[str, Any], np.ndarray], float]
) -> float:
    """Mean quality over the cases where each fifth of the users is mixed as learnt from the other four."""
    fold = np.arange(len(cases[0]["ell"])) % FOLDS
    alphas = [np.empty(len(case["ell"])) for case in cases]
    for n in range(FOLDS):
        b = learn(cases, [np.flatnonzero(fold != n)] * len(cases))
        for case, alpha in zip(cases, alphas, strict=True):
            alpha[fold == n] = aggregation.learned_weight(case["ell"][fold == n], *b)
    return float(np.mean([quality(case, alpha) for case, alpha in zip(cases, alphas, strict=True)]))
