"""BiasMF: Koren, Bell and Volinsky, "Matrix Factorization Techniques for Recommender Systems".

IEEE Computer 2009.

y_ui = b_i + e_u . e_i (eq. 4), here with the BPR loss.

Deviations: no global mean and no user bias, because they cancel in BPR and in a user's ranking
(RecLM RO13).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from raypipe.backbones import contract, pairwise


class Options(pairwise.Options):
    """Hyper-parameters of BiasMF; defaults by search (docs/backbones.md): those of MF."""

    learning_rate: float = Field(1.5e-2, gt=0)
    reg: float = Field(1.3e-2, ge=0, description="L2 penalty")
    negatives: int = Field(8, ge=1)


class Model(pairwise.DotRanker):
    """MF with an item bias."""

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        if self.entities is None:  # otherwise their offsets are the biases
            self.bias = nn.Parameter(torch.zeros(data.n_items))

    def scored(self, final_Nd: torch.Tensor) -> torch.Tensor:
        if self.entities is not None:
            return super().scored(final_Nd)
        return pairwise.with_offsets(final_Nd, self.bias)
