"""LightGCN: He et al., SIGIR 2020.

"LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation".

E^(l+1) = D^-1/2 A D^-1/2 E^(l); the final embedding is the mean of E^(0) .. E^(L) (eq. 7, 8); y_ui
= e_u . e_i; BPR loss with an L2 penalty on E^(0) (eq. 15).

Deviations: a positive may have several negatives (`negatives`; the paper draws one). Each batch
propagates over the whole graph, so the batch size grows with the rows (`steps`); otherwise the cost
of an epoch would grow with their square. Preference pairs of the LLM enter the same loss (Llama4Rec
L7).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from pydantic import Field

from raypipe.backbones import contract, pairwise


class Options(pairwise.GraphOptions):
    """Hyper-parameters of LightGCN."""

    steps: int = Field(
        64,
        ge=1,
        description="most batches an epoch; with more rows, batches are larger",
    )


class Model(pairwise.GraphRanker):
    """LightGCN over the training graph."""

    options: Options

    def batches(
        self, data: contract.FitData, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        size = max(self.options.batch_size, -(-len(self._triples.user) // self.options.steps))
        return self._triples.batches(size, self.options.negatives, rng)
