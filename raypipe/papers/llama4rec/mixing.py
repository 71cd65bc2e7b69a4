"""The last step of a recommendation: the LLM's and the backbone's output become one list or rating
(eq. 4 to 6).

Evaluation and serving both end here, so a served list is the list that was measured.
"""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
import pandas as pd

from raypipe.papers.llama4rec import aggregation
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.llm_scores import Ranking, candidates, utilities
from raypipe.papers.llama4rec.variants import WAVES, source
from raypipe.schema import ITEM, USER


class Choice(TypedDict):
    """What validation chose for a backbone, a line of chosen.json.

    Attributes:
        ranking: how its lists are ranked.
        alpha_1, alpha_2: the weights of eq. 5; None for a variant that mixes nothing.
        uniform: the best weight for all users alike (L26).
        learned: (b_0, b_1) of the learned weight (L53), where it is used.
        ell_range: range of eq. 4 over all training users.
        validation: N@5, or minus RMSE, on validation.
    """

    task: str
    backbone: str
    ranking: Ranking
    alpha_1: float | None
    alpha_2: float | None
    uniform: float | None
    learned: tuple[float, float] | None
    ell_range: tuple[float, float]
    validation: float


def llm_weight(variant: str, choice: Choice, interactions_U: np.ndarray) -> np.ndarray:
    """[U] weight of the LLM.

    All of it where a variant mixes nothing, one weight for all users without adaptive aggregation,
    else eq. 5.

    Args:
        interactions_U: training interactions of each user (LO21).
    """
    if not WAVES[source(variant)].mixed:
        return np.ones(len(interactions_U))
    if variant == "wo_aa":
        return np.full(len(interactions_U), choice["uniform"], dtype=float)
    ell_U = aggregation.long_tail_coefficient(interactions_U)
    low, high = choice["ell_range"]
    return aggregation.weight(ell_U, low, high, choice)


def backbone_lists(lists: pd.DataFrame, config: Llama4RecConfig) -> pd.DataFrame:
    """A row for each candidate of LISTS rows, ranked by the backbone alone: user_id, item_id, rank,
    score.
    """
    items_UK, scores_UK = candidates(lists, config.k_prime)
    ranks_UK = _backbone_ranks(items_UK)
    return _long(lists, items_UK, {"rank": ranks_UK, "score": scores_UK})


def mixed_lists(
    lists: pd.DataFrame,
    scores: pd.DataFrame,
    weight_U: np.ndarray | None,
    config: Llama4RecConfig,
) -> pd.DataFrame:
    """A row for each candidate of LISTS rows, ranked by the LLM, or by both where weights are
    given.

    Args:
        scores: the LLM's scores for these users, of one ranking.
        weight_U: the LLM's weight for each user; None: the LLM decides alone.

    Returns:
        user_id, item_id, rank and score (mixed); alpha where weights are given; rec and llm, the
        utilities of both; rank_rec and rank_llm, the ranks that each would give; answered, whether
        the LLM's answer was used.
    """
    items_UK, _ = candidates(lists, config.k_prime)
    llm_UK, backbone_UK, answered_U = utilities(lists, scores, config)
    columns: dict[str, np.ndarray] = {}
    mixed_UK = llm_UK
    if weight_U is not None:
        mixed_UK = aggregation.mixed(llm_UK, backbone_UK, weight_U)
        columns["alpha"] = _for_each_item(weight_U, items_UK)
    columns |= {
        "rank": aggregation.positions(mixed_UK),
        "score": mixed_UK,
        "rec": backbone_UK,
        "llm": llm_UK,
        "rank_rec": _backbone_ranks(items_UK),
        "rank_llm": aggregation.positions(llm_UK),
        "answered": _for_each_item(answered_U, items_UK),
    }
    return _long(lists, items_UK, columns)


def mixed_ratings(
    predictions: pd.DataFrame, scores: pd.DataFrame, weight_U: np.ndarray
) -> pd.DataFrame:
    """PREDICTIONS rows with the LLM's rating mixed in: prediction (mixed), rec, llm, alpha,
    answered.

    Where the LLM's answer was rejected, the backbone's prediction stands for it (LO23).
    """
    frame = predictions.merge(scores[[USER, ITEM, "score"]], on=[USER, ITEM], how="left")
    backbone_U = frame["prediction"].to_numpy()
    llm_U = frame["score"].fillna(frame["prediction"]).to_numpy()
    return frame.drop(columns="score").assign(
        rec=backbone_U,
        llm=llm_U,
        alpha=weight_U,
        prediction=aggregation.blend_ratings(llm_U, backbone_U, weight_U),
        answered=frame["score"].notna().to_numpy(),
    )


def _backbone_ranks(items_UK: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.arange(1, items_UK.shape[1] + 1), items_UK.shape)


def _for_each_item(values_U: np.ndarray, items_UK: np.ndarray) -> np.ndarray:
    return np.broadcast_to(values_U[:, None], items_UK.shape)


def _long(lists: pd.DataFrame, items_UK: np.ndarray, columns: dict[str, Any]) -> pd.DataFrame:
    """Arrays [U, K] as a table with a row for each candidate, by user and rank."""
    k = items_UK.shape[1]
    frame = pd.DataFrame({USER: np.repeat(lists[USER].to_numpy(), k), ITEM: items_UK.ravel()})
    frame = frame.assign(**{name: values.ravel() for name, values in columns.items()})
    if "target" in lists:
        frame["target"] = np.repeat(lists["target"].to_numpy(), k)
    frame = frame[items_UK.ravel() != ""]
    return frame.sort_values([USER, "rank"], kind="stable").reset_index(drop=True)
