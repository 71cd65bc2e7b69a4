"""What a backbone and the LLM say about validation users, and how good their mixture is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from raypipe.evaluation import metrics
from raypipe.papers.llama4rec import aggregation
from raypipe.papers.llama4rec.llm_scores import Ranking


@dataclass(frozen=True)
class Case:
    """What one backbone of one seed, and the LLM, say about validation users.

    Attributes:
        scope: "all" users, or those on whom listwise and pointwise are "compared".
        ell: [U] long-tail coefficients (eq. 4); `ell_range` over all training users.
        llm, backbone_output: [U, K] utilities of the candidates, or [U] ratings.
        target: [U] place of the true item among the candidates (1 = first, 0 = not there), or the
            true rating.
    """

    task: str
    backbone: str
    ranking: Ranking
    scope: str
    ell: np.ndarray
    ell_range: tuple[float, float]
    llm: np.ndarray
    backbone_output: np.ndarray
    target: np.ndarray

    @property
    def name(self) -> str:
        """A name that the cases of all seeds share."""
        return f"{self.task}.{self.backbone}.{self.ranking}.{self.scope}"

    def quality(self, alpha_U: np.ndarray | None) -> float:
        """N@5, or minus RMSE: of the LLM alone where alpha is None, else of the mixture."""
        if self.task != "rating":
            return float(self.gains(alpha_U).mean())
        ratings = self.llm
        if alpha_U is not None:
            ratings = aggregation.blend_ratings(self.llm, self.backbone_output, alpha_U)
        return -metrics.rating(ratings, self.target)["RMSE"]

    def gains(self, alpha_U: np.ndarray | None) -> np.ndarray:
        """[U] N@5 of each user's list."""
        utility_UK = self.llm
        if alpha_U is not None:
            utility_UK = aggregation.mixed(self.llm, self.backbone_output, alpha_U)
        rank_UK = aggregation.positions(utility_UK)
        column_U = np.maximum(self.target - 1, 0)
        rank_U = np.where(self.target > 0, rank_UK[np.arange(len(rank_UK)), column_U], 0)
        return metrics.ndcg(rank_U, 5)

    def weight(self, point: dict[str, Any]) -> np.ndarray | None:
        """[U] eq. 5 at a point of the grid; None where the LLM alone decides."""
        if point["alpha_1"] is None:
            return None
        low, high = self.ell_range
        return aggregation.llm_weight(self.ell, low, high, point["alpha_1"], point["alpha_2"])
