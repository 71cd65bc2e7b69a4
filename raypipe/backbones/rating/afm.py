"""AFM: Xiao et al., IJCAI 2017.

"Attentional Factorization Machines: Learning the Weight of Feature Interactions via Attention
Networks".

y = w_0 + sum of w_f + p . sum over pairs of a_fg (v_f * v_g),
a = softmax over pairs of h . ReLU(W (v_f * v_g) + b) (eq. 5-7), with dropout on the pooled vector.

Deviations: see `features.FieldRater`. The pooled vector is scaled by the number of pairs, so
uniform attention gives the factorization machine's sum and gradients of its size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from raypipe.backbones import contract, features
from raypipe.backbones.dropout import dropout


class Options(features.Options):
    """Hyper-parameters of AFM; defaults by search (docs/backbones.md)."""

    embedding_size: int = Field(8, ge=1)
    learning_rate: float = Field(4.5e-3, gt=0)
    reg: float = Field(2.3e-4, ge=0, description="L2 penalty on the embeddings of the batch")
    ridge: float = Field(
        10.0,
        ge=0,
        description="L2 pull to zero, as strong as this many ratings; stronger for rare ids",
    )
    dropout: float = Field(0.07, ge=0, lt=1)
    attention_size: int = Field(16, ge=1, description="width of the attention network")


class Model(features.FieldRater):
    """Attention over the pairs of fields."""

    options: Options
    one: torch.Tensor
    two: torch.Tensor

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        one, two = torch.triu_indices(self.fields.count, self.fields.count, 1)
        self.register_buffer("one", one, persistent=False)
        self.register_buffer("two", two, persistent=False)
        self.attend = nn.Linear(options.embedding_size, options.attention_size)
        self.weigh = nn.Linear(options.attention_size, 1, bias=False)
        self.project = nn.Parameter(torch.ones(options.embedding_size))

    def interaction(self, v_BFd: torch.Tensor) -> torch.Tensor:
        # fields first, so that whole fields are gathered and summed
        v_FBd = v_BFd.transpose(0, 1).contiguous()
        pairs_PBd = v_FBd.index_select(0, self.one) * v_FBd.index_select(0, self.two)
        share_PB = self.weigh(F.relu(self.attend(pairs_PBd))).squeeze(-1).softmax(0)
        pooled_Bd = (share_PB[..., None] * pairs_PBd).sum(0) * len(self.one)
        return dropout(pooled_Bd, self.options.dropout, self.training) @ self.project
