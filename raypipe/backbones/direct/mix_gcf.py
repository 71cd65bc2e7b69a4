"""MixGCF: Huang et al., KDD 2021.

"MixGCF: An Improved Training Method for Graph Neural Network-based Recommender Systems".

LightGCN with synthetic negatives. In every layer, each of S drawn negatives is mixed with the
positive (eq. 5), and the mixture nearest to the user is chosen (eq. 7). The negative is the mean of
the choices of all layers (eq. 8).

Deviations: none known. A preference pair of the LLM keeps its own negative, unmixed.
"""

from __future__ import annotations

import torch
from pydantic import Field

from raypipe.backbones import graph, losses, pairwise


class Options(pairwise.GraphOptions):
    """Hyper-parameters of MixGCF; defaults by search (docs/backbones.md)."""

    learning_rate: float = Field(6e-3, gt=0)
    reg: float = Field(2e-5, ge=0, description="L2 penalty")
    negatives: int = Field(8, ge=1, description="S, drawn negatives from which each layer chooses")


class Model(pairwise.GraphRanker):
    """LightGCN with hop mixing."""

    takes_texts = False  # mixed negatives of propagated items do not train cold-start items
    options: Options

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        user_B, positive_B, negative_BS, judged_B = batch
        positive_B, negative_BS = positive_B + self.n_users, negative_BS + self.n_users
        start = self.start()
        layers = self.graph(start)
        rows = torch.arange(len(user_B), device=user_B.device)
        negatives = []
        for layer in layers:
            share_BS = torch.rand(negative_BS.shape, device=layer.device) * ~judged_B[:, None]
            with torch.no_grad():  # mixing is linear, so the scores of the mixed are mixed scores
                near = (layer[user_B] * layer[positive_B]).sum(-1, keepdim=True)
                far = torch.einsum("bd,bsd->bs", layer[user_B], layer[negative_BS])
                best_B = (share_BS * near + (1 - share_BS) * far).argmax(1)
            share = share_BS[rows, best_B][:, None]
            negative = layer[negative_BS[rows, best_B]]
            negatives.append(share * layer[positive_B] + (1 - share) * negative)
        final = graph.layer_mean(layers)
        margin = (final[user_B] * (final[positive_B] - graph.layer_mean(negatives))).sum(-1)
        penalty = losses.squared_norm(start[user_B], start[positive_B], start[negative_BS[:, 0]])
        return losses.bpr(margin) + self.options.reg * penalty
