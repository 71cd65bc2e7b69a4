"""SimGCL: Yu et al., SIGIR 2022.

"Are Graph Augmentations Necessary? Simple Graph Contrastive Learning for Recommendation".

LightGCN without E^(0) in the mean, and a contrast of two views that add noise after every layer
(eq. 7). The noise has length eps and a random direction in the embedding's orthant.

Deviations: the contrast runs over the distinct users and items of the batch, as in the authors'
code.
"""

from __future__ import annotations

import torch
from pydantic import Field

from raypipe.backbones import graph, losses, pairwise


class Options(pairwise.GraphOptions):
    """Hyper-parameters of SimGCL; defaults by search (docs/backbones.md)."""

    learning_rate: float = Field(1.8e-2, gt=0)
    reg: float = Field(2e-5, ge=0, description="L2 penalty")
    layers: int = Field(1, ge=1)
    noise: float = Field(0.2, ge=0, description="eps, the length of the noise")
    contrast: float = Field(8e-3, ge=0, description="weight of the contrastive loss")
    temperature: float = Field(0.2, gt=0, description="temperature of the contrastive loss")


class Model(pairwise.GraphRanker):
    """LightGCN and two noisy views."""

    options: Options

    def view(
        self, start_Nd: torch.Tensor, noisy: bool = False, first_Nd: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[U + I, d] mean over the layers 1 to L.

        Args:
            first_Nd: layer 1 without noise, if already computed.
        """
        if noisy:
            return graph.layer_mean(self.graph(start_Nd, self.add_noise, first=first_Nd)[1:])
        first = graph.propagate(self.graph.adjacency, start_Nd) if first_Nd is None else first_Nd
        return graph.mean_of_powers(self.graph.adjacency, self.graph.depth - 1, first)

    def add_noise(self, x_Nd: torch.Tensor) -> torch.Tensor:
        """[N, d] with added noise of the same sign."""
        with torch.no_grad():
            noise = torch.rand_like(x_Nd)
            noise.mul_(
                self.options.noise / torch.linalg.vector_norm(noise, dim=1, keepdim=True)
            ).copysign_(x_Nd)
        return x_Nd + noise

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        start = self.start()
        first = graph.propagate(self.graph.adjacency, start)  # the same for all three
        one, two = (self.view(start, noisy=True, first_Nd=first) for _ in range(2))
        contrast = losses.node_contrast(
            one, two, batch[0], batch[1] + self.n_users, self.options.temperature
        )
        return (
            self.pair_loss(
                start,
                self.scored(self.with_item_inputs(start, self.view(start, first_Nd=first))),
                *batch,
            )
            + self.options.contrast * contrast
        )
