"""SGL: Wu et al., "Self-supervised Graph Learning for Recommendation", SIGIR 2021.

LightGCN with BPR loss and a contrast of two views of the graph (eq. 10, 11). Each view drops random
edges (ED), nodes (ND), or other edges in every layer (RW). The views are drawn anew in each epoch.

Deviations: the contrast runs over the distinct users and items of the batch, as in the authors'
code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from raypipe.backbones import contract, graph, losses, pairwise


class Options(pairwise.GraphOptions):
    """Hyper-parameters of SGL; defaults by search (docs/backbones.md)."""

    learning_rate: float = Field(1.8e-2, gt=0)
    reg: float = Field(2.7e-5, ge=0, description="L2 penalty")
    init_std: float = Field(0.03, gt=0, description="standard deviation of the initial embeddings")
    layers: int = Field(3, ge=1, description="propagation steps")
    view: Literal["edge", "node", "walk"] = Field("edge", description="what a view drops")
    drop: float = Field(0.1, ge=0, lt=1, description="share of edges or nodes that a view lacks")
    contrast: float = Field(7e-4, ge=0, description="weight of the contrastive loss")
    temperature: float = Field(0.1, gt=0, description="temperature of the contrastive loss")


class Model(pairwise.GraphRanker):
    """LightGCN and two graphs with dropped edges or nodes."""

    options: Options

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        self._views: list[list[torch.Tensor]] = []

    def thinned(self, data: contract.FitData, rng: np.random.Generator) -> torch.Tensor:
        """The adjacency of a random part of the graph."""
        if self.options.view == "node":
            users, items = (
                rng.random(n) >= self.options.drop for n in (self.n_users, self.n_items)
            )
            keep = users[data.user] & items[data.item]
        else:
            keep = rng.random(len(data.user)) >= self.options.drop
        return graph.normalised_adjacency(
            data.user[keep], data.item[keep], self.n_users, self.n_items
        ).to(self.device)

    def batches(
        self, data: contract.FitData, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        depth = self.options.layers
        graphs = depth if self.options.view == "walk" else 1
        self._views = [
            [self.thinned(data, rng) for _ in range(graphs)] * (depth // graphs) for _ in range(2)
        ]
        yield from super().batches(data, rng)

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        start = self.start()
        one, two = (self.graph.mean(start, view) for view in self._views)
        contrast = losses.node_contrast(
            one, two, batch[0], batch[1] + self.n_users, self.options.temperature
        )
        return (
            self.pair_loss(start, self.scored(self.final(start)), *batch)
            + self.options.contrast * contrast
        )
