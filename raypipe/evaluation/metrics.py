"""Metrics (L36) as pure functions over ranks and predictions. U = users, K = list length.

With one held-out item per user, recall, hit rate and DCG need only the rank of that item. Ranks
start at 1. Rank 0 means that the item is not in the list.
"""

from __future__ import annotations

import numpy as np

RATING = ("RMSE", "MAE")


def hit(rank_U: np.ndarray, k: int) -> np.ndarray:
    """[U] 1.0 where the target is among the first k, else 0.0."""
    return ((rank_U >= 1) & (rank_U <= k)).astype(float)


def ndcg(rank_U: np.ndarray, k: int) -> np.ndarray:
    """[U] 1 / log2(rank + 1) where the target is among the first k, else 0.

    The ideal DCG of one item is 1.
    """
    return np.where(hit(rank_U, k) > 0, 1.0 / np.log2(np.maximum(rank_U, 1) + 1), 0.0)


def ranking(rank_U: np.ndarray) -> dict[str, np.ndarray]:
    """Per-user values [U] of H@3, N@3, H@5 and N@5."""
    return {
        "H@3": hit(rank_U, 3),
        "N@3": ndcg(rank_U, 3),
        "H@5": hit(rank_U, 5),
        "N@5": ndcg(rank_U, 5),
    }


def rating(prediction_U: np.ndarray, truth_U: np.ndarray) -> dict[str, float]:
    """RMSE and MAE over users. Lower is better."""
    error = np.asarray(prediction_U, dtype=float) - np.asarray(truth_U, dtype=float)
    return {"RMSE": float(np.sqrt(np.mean(error**2))), "MAE": float(np.mean(np.abs(error)))}


def target_ranks(target_U: np.ndarray, items_UK: np.ndarray) -> np.ndarray:
    """[U] rank of each target in its list, 0 where it is absent."""
    matches_UK = items_UK == np.asarray(target_U)[:, None]
    return np.where(matches_UK.any(1), matches_UK.argmax(1) + 1, 0)


def set_recall(hit_UK: np.ndarray, size_U: np.ndarray, k: int) -> np.ndarray:
    """[U] share of a user's relevant items that are among the first k (RecLM RO5).

    Args:
        hit_UK: whether each place of the list, best first, holds a relevant item.
        size_U: number of relevant items of each user.
    """
    return hit_UK[:, :k].sum(1) / size_U


def set_ndcg(hit_UK: np.ndarray, size_U: np.ndarray, k: int) -> np.ndarray:
    """[U] DCG of the first k divided by the ideal DCG, that of min(size, k) hits (RecLM RO5)."""
    gain = 1.0 / np.log2(np.arange(2, k + 2))
    return hit_UK[:, :k] @ gain[: hit_UK.shape[1]] / np.cumsum(gain)[np.minimum(size_U, k) - 1]
