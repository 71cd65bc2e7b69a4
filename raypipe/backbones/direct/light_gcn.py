"""LightGCN: He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", SIGIR 2020.

E^(l+1) = D^-1/2 A D^-1/2 E^(l); the final embedding is the mean of E^(0) .. E^(L) (eq. 7, 8); y_ui = e_u . e_i; BPR loss
with an L2 penalty on E^(0) (eq. 15).

Deviations: several negatives may share a positive (`negatives`; the paper draws one). Pairs judged by the LLM enter the same
loss (Llama4Rec L7).
"""

from __future__ import annotations

import torch
from pydantic import Field

from raypipe.backbones import contract, graph, pairwise


class Options(pairwise.Options):
    """Hyper-parameters of LightGCN."""

    layers: int = Field(2, ge=0)


class Model(pairwise.DotRanker):
    """LightGCN over the training graph."""

    options: Options

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        self.graph = graph.Propagation(data, options.layers)

    def forward(self) -> torch.Tensor:
        """[U + I, d] mean over the layers."""
        return graph.layer_mean(self.graph(self.embedding))
