"""MixGCF: Huang et al., "MixGCF: An Improved Training Method for Graph Neural Network-based Recommender Systems", KDD 2021.

LightGCN whose negatives are made, not drawn: in every layer, each of S drawn negatives is mixed with the positive (eq. 5), the one
nearest to the user in that layer is taken (eq. 7), and the negative is the mean of what the layers took (eq. 8).

Deviations: none known. A pair judged by the LLM keeps its own negative, unmixed.
"""

from __future__ import annotations

import torch
from pydantic import Field

from raypipe.backbones import graph, losses, pairwise


class Options(pairwise.GraphOptions):
    """Hyper-parameters of MixGCF; defaults by search (docs/backbones.md)."""

    learning_rate: float = Field(6e-3, gt=0)
    reg: float = Field(2e-5, ge=0, description="L2 penalty")
    negatives: int = Field(8, ge=1, description="S, negatives that a layer chooses from")


class Model(pairwise.GraphRanker):
    """LightGCN with hop mixing."""

    takes_texts = False  # negatives mixed from propagated items tell nothing of unseen ones
    options: Options

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        user_B, positive_B, negative_BS, judged_B = batch
        positive_B, negative_BS = positive_B + self.n_users, negative_BS + self.n_users
        start = self.start()
        every = self.graph(start)
        rows = torch.arange(len(user_B), device=user_B.device)
        taken = []
        for layer in every:
            share_BS = torch.rand(negative_BS.shape, device=layer.device) * ~judged_B[:, None]
            with torch.no_grad():  # mixing is linear, so the scores of the mixed are mixed scores
                near = (layer[user_B] * layer[positive_B]).sum(-1, keepdim=True)
                far = torch.einsum("bd,bsd->bs", layer[user_B], layer[negative_BS])
                best_B = (share_BS * near + (1 - share_BS) * far).argmax(1)
            share = share_BS[rows, best_B][:, None]
            taken.append(share * layer[positive_B] + (1 - share) * layer[negative_BS[rows, best_B]])
        final = graph.layer_mean(every)
        margin = (final[user_B] * (final[positive_B] - graph.layer_mean(taken))).sum(-1)
        penalty = losses.squared_norm(start[user_B], start[positive_B], start[negative_BS[:, 0]])
        return losses.bpr(margin) + self.options.reg * penalty
