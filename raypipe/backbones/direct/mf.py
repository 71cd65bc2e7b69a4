"""MF: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009.

y_ui = e_u . e_i; BPR loss with an L2 penalty on the embeddings of each triple.

Deviations: Adam instead of plain stochastic gradient descent.
"""

from __future__ import annotations

from pydantic import Field

from raypipe.backbones import pairwise


class Options(pairwise.Options):
    """Hyper-parameters of MF; defaults by search (docs/backbones.md)."""

    learning_rate: float = Field(1.5e-2, gt=0)
    reg: float = Field(1.3e-2, ge=0, description="L2 penalty")
    negatives: int = Field(8, ge=1)


class Model(pairwise.DotRanker):
    """Dot products of learned vectors."""
