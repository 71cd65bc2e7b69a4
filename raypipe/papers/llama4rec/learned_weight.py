"""Experimental: a weight learned on validation, beside eq. 5 (L53).

The LLM's weight is a logistic function of the long-tail coefficient. Eq. 5 can only give more
weight to users of the tail; here the
data says for whom the LLM is worth more, by two numbers a backbone: few enough for some hundred
    validation users. It did not help on
MovieLens-100K (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from raypipe.papers.llama4rec import aggregation
from raypipe.papers.llama4rec.validation_case import Case

FOLDS = 5
#: pull of both numbers to zero, that is to equal weights, in units of the mean loss
PULL = 1e-3


class _Rows(NamedTuple):
    """The users of a case that are learned from."""

    ell: np.ndarray
    llm: np.ndarray
    backbone_output: np.ndarray
    target: np.ndarray


def learn(cases: Sequence[Case], users: Sequence[np.ndarray]) -> tuple[float, float]:
    """(b_0, b_1) of `aggregation.learned_weight` that make the truth most probable.

    Ratings: least squared error. Lists: the softmax over the k' candidates of the mixed utilities,
        at a temperature that is
    learned too; users whose target is not among the candidates, or not among those that were rated,
    teach nothing.

    Args:
        cases: those of model_selection.py, one a seed.
        users: of each case the rows of the users to learn from.
    """
    ranked = cases[0].task != "rating"
    samples = []
    for case, rows in zip(cases, users, strict=True):
        kept = rows[_informative(case, rows)] if ranked else rows
        samples.append(
            _Rows(case.ell[kept], case.llm[kept], case.backbone_output[kept], case.target[kept])
        )

    def loss(b: np.ndarray) -> float:
        parts = [_list_loss(s, b) if ranked else _rating_loss(s, b) for s in samples]
        losses = np.concatenate(parts)
        mean = losses.mean() if len(losses) else 0.0
        return float(mean + PULL * (b[0] ** 2 + b[1] ** 2))

    # without derivatives: utilities are rounded, so that small steps change nothing
    options = {"maxiter": 400, "xatol": 1e-3, "fatol": 1e-6}
    found = minimize(loss, np.zeros(3), method="Nelder-Mead", options=options)
    return float(found.x[0]), float(found.x[1])


def _list_loss(rows: _Rows, b: np.ndarray) -> np.ndarray:
    """[U] minus the log-probability of the target under the softmax of the mixed utilities."""
    alpha = aggregation.learned_weight(rows.ell, b[0], b[1])
    utility = np.exp(b[2]) * aggregation.mixed(rows.llm, rows.backbone_output, alpha)
    return logsumexp(utility, axis=1) - utility[np.arange(len(utility)), rows.target - 1]


def _rating_loss(rows: _Rows, b: np.ndarray) -> np.ndarray:
    """[U] squared errors."""
    alpha = aggregation.learned_weight(rows.ell, b[0], b[1])
    return (aggregation.blend_ratings(rows.llm, rows.backbone_output, alpha) - rows.target) ** 2


def _informative(case: Case, rows: np.ndarray) -> np.ndarray:
    """[rows] whether the LLM scored the user's target."""
    target = case.target[rows]
    return (target > 0) & (case.llm[rows, np.maximum(target - 1, 0)] > -np.inf)


def cross_fitted(cases: Sequence[Case]) -> float:
    """Mean quality over the cases where each fifth of the users is mixed as learned from the other
    four.
    """
    fold = np.arange(len(cases[0].ell)) % FOLDS
    alphas = [np.empty(len(case.ell)) for case in cases]
    for n in range(FOLDS):
        b = learn(cases, [np.flatnonzero(fold != n)] * len(cases))
        for case, alpha in zip(cases, alphas, strict=True):
            alpha[fold == n] = aggregation.learned_weight(case.ell[fold == n], *b)
    qualities = [case.quality(alpha) for case, alpha in zip(cases, alphas, strict=True)]
    return float(np.mean(qualities))
