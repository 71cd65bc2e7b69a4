"""LightGCN: He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", SIGIR 2020.

E^(l+1) = D^-1/2 A D^-1/2 E^(l); the final embedding is the mean of E^(0) .. E^(L) (eq. 7, 8); y_ui = e_u . e_i; BPR loss
with an L2 penalty on E^(0) (eq. 15).

Deviations: several negatives may share a positive (`negatives`; the paper draws one); each is drawn uniformly from the items
without a training interaction of the user. Pairs judged by the LLM enter the same loss (Llama4Rec L7).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from pydantic import Field
from torch import nn

from raypipe.backbones import contract, graph, losses
from raypipe.backbones.negatives import Negatives


class Options(contract.Options):
    """Hyper-parameters of LightGCN."""

    learning_rate: float = Field(5e-3, gt=0)
    patience: int = Field(20, ge=1)
    layers: int = Field(2, ge=0)
    negatives: int = Field(1, ge=1)


class Model(contract.Ranker):
    """LightGCN over the training graph."""

    task = "direct"
    options: Options

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        self.embedding = nn.Parameter(torch.empty(data.n_users + data.n_items, options.embedding_size))
        nn.init.normal_(self.embedding, std=0.1)
        self.adjacency = graph.normalised_adjacency(data.user, data.item, data.n_users, data.n_items)
        self._sampler = Negatives(data)
        self._final: torch.Tensor | None = None

    def forward(self) -> torch.Tensor:
        """[U + I, d] mean over the layers."""
        layer: torch.Tensor = self.embedding
        total = layer
        for _ in range(self.options.layers):
            layer = graph.propagate(self.adjacency, layer)
            total = total + layer
        return total / (self.options.layers + 1)

    def batches(self, data: contract.FitData, rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, ...]]:
        user = np.concatenate([data.user, data.pairs[:, 0]])
        positive = np.concatenate([data.item, data.pairs[:, 1]])
        n = len(data.user)
        for rows in contract.shuffled(len(user), self.options.batch_size, rng):
            negative = self._sampler.draw(user[rows], self.options.negatives, rng)
            judged = rows >= n
            negative[judged] = data.pairs[rows[judged] - n, 2][:, None]
            yield torch.from_numpy(user[rows]), torch.from_numpy(positive[rows]), torch.from_numpy(negative)

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        user_B, positive_B, negative_BS = batch
        final = self()
        user = final[user_B]
        y_positive = (user * final[self.n_users + positive_B]).sum(-1)
        y_negative = torch.einsum("bd,bsd->bs", user, final[self.n_users + negative_BS])
        raw = self.embedding
        penalty = losses.squared_norm(raw[user_B], raw[self.n_users + positive_B], raw[self.n_users + negative_BS[:, 0]])
        return losses.bpr(y_positive[:, None], y_negative) + self.options.reg * penalty

    def begin_scoring(self) -> None:
        self._final = self().detach()

    def score(self, user_B: torch.Tensor, history_BT: torch.Tensor) -> torch.Tensor:
        assert self._final is not None, "begin_scoring comes first"
        return self._final[user_B] @ self._final[self.n_users :].T

    def user_embeddings(self, data: contract.FitData) -> torch.Tensor:
        return self().detach()[: self.n_users]
