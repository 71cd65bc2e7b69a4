"""Adaptive aggregation (Llama4Rec eq. 4-6, L19 to L25) as pure functions; evaluation and serving
both call these.

U = users, K = k', the length of the re-ranked list.

Decisions: utilities of lists are positions, as in the paper, or scores (`aggregation.utility`).
N(u) counts training interactions only (LO21). Equal pointwise ratings keep the conventional order
(LO22), and so do equal utilities. Where all users are alike nobody is in the tail and the floor
alpha_2 applies (LO25).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def long_tail_coefficient(interactions_U: np.ndarray) -> np.ndarray:
    """Eq. 4: [U] log(N(u) + 1)."""
    return np.log(np.asarray(interactions_U, dtype=float) + 1.0)


def llm_weight(
    ell_U: np.ndarray, ell_min: float, ell_max: float, alpha_1: float, alpha_2: float
) -> np.ndarray:
    """Eq. 5: [U] alpha_u = max((ell_max - ell_u) / (ell_max - ell_min), alpha_2) * alpha_1.

    Args:
        ell_U: long-tail coefficients.
        ell_min, ell_max: their range over all training users; a user outside it (served later) is
            clipped to it.
    """
    if ell_max <= ell_min:
        return np.full(np.shape(ell_U), alpha_1 * alpha_2)
    tail_U = np.clip((ell_max - np.asarray(ell_U)) / (ell_max - ell_min), 0.0, 1.0)
    return np.maximum(tail_U, alpha_2) * alpha_1


def learned_weight(ell_U: np.ndarray, b_0: float, b_1: float) -> np.ndarray:
    """[U] alpha_u = 1 / (1 + exp(-(b_0 + b_1 ell_u))): a weight learned on validation instead of
    eq. 5 (L53).
    """
    return 1.0 / (1.0 + np.exp(-(b_0 + b_1 * np.asarray(ell_U))))


def weight(
    ell_U: np.ndarray, ell_min: float, ell_max: float, chosen: Mapping[str, Any]
) -> np.ndarray:
    """[U] the LLM's weight by what was chosen on validation: `learned` (b_0, b_1), or where that is
    None eq. 5.
    """
    if chosen["learned"] is not None:
        return learned_weight(ell_U, *chosen["learned"])
    return llm_weight(ell_U, ell_min, ell_max, chosen["alpha_1"], chosen["alpha_2"])


def blend_ratings(llm_U: np.ndarray, rec_U: np.ndarray, alpha_U: np.ndarray) -> np.ndarray:
    """Eq. 6 for ratings (L22): [U] alpha * LLM + (1 - alpha) * conventional."""
    return alpha_U * llm_U + (1.0 - alpha_U) * rec_U


def positions(score_UK: np.ndarray) -> np.ndarray:
    """[U, K] 1-based positions by falling score; columns are in conventional order, which breaks
    ties.
    """
    order_UK = np.argsort(-np.asarray(score_UK), axis=1, kind="stable")
    rank_UK = np.empty_like(order_UK)
    np.put_along_axis(rank_UK, order_UK, np.arange(1, score_UK.shape[1] + 1)[None, :], axis=1)
    return rank_UK


def by_position(score_UK: np.ndarray) -> np.ndarray:
    """[U, K] the utilities of L23 with C = 1: minus the position by falling score."""
    return -positions(score_UK).astype(float)


def mixed(llm_UK: np.ndarray, rec_UK: np.ndarray, alpha_U: np.ndarray) -> np.ndarray:
    """Eq. 6 for lists: [U, K] final utilities from those of the LLM and of the conventional model,
    columns in its order.

    Utilities are minus the positions (L23), or log-probabilities and scores; what is added to all
    of a user's changes nothing. -inf, of a candidate that one of them does not know, puts it behind
    the others unless that one has no weight.
    """
    alpha_U1 = np.asarray(alpha_U, dtype=float)[:, None]
    with np.errstate(invalid="ignore"):
        llm_part, rec_part = (
            np.where(w > 0, w * of, 0.0) for w, of in ((alpha_U1, llm_UK), (1.0 - alpha_U1, rec_UK))
        )
    return np.round(llm_part + rec_part, 9)  # rounding: sums that are equal on paper stay equal
