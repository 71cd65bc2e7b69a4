"""xDeepFM: Lian et al., KDD 2018.

"xDeepFM: Combining Explicit and Implicit Feature Interactions for Recommender Systems".

Compressed interaction network: X^k_h = sum over i, j of W^k_hij (X^{k-1}_i * X^0_j) (eq. 6), each
layer summed over the embedding (eq. 7). y is linear in these sums, in an MLP and in the fields (eq.
9).

Deviations: see `features.FieldRater`. All maps of a layer feed both the next layer and the output
(the authors' code splits them in halves).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from raypipe.backbones import contract, features


class Options(features.Options):
    """Hyper-parameters of xDeepFM."""

    maps: tuple[int, ...] = Field((16, 16), description="feature maps of each layer")
    hidden: tuple[int, ...] = Field((64, 32), description="sizes of the hidden layers")


class Model(features.FieldRater):
    """Compressed interaction network and MLP side by side."""

    options: Options

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        count = self.fields.count
        before = (count, *options.maps)
        self.compress = nn.ModuleList(
            nn.Linear(left * count, right, bias=False)
            for left, right in zip(before, options.maps, strict=False)
        )
        width = count * options.embedding_size
        self.deep = features.mlp(width, options.hidden, options.dropout)
        self.out = nn.Linear(sum(options.maps) + (width, *options.hidden)[-1], 1)

    def cin(self, v_BFd: torch.Tensor) -> torch.Tensor:
        """[B, sum of maps] the compressed interactions of orders 2, 3, ..."""
        start = layer = v_BFd.transpose(1, 2)  # [B, d, F]
        sums = []
        for compress in self.compress:
            outer = layer[..., :, None] * start[..., None, :]
            layer = compress(outer.flatten(2))
            sums.append(layer.sum(1))
        return torch.cat(sums, dim=1)

    def interaction(self, v_BFd: torch.Tensor) -> torch.Tensor:
        return self.out(torch.cat([self.cin(v_BFd), self.deep(v_BFd.flatten(1))], dim=1)).squeeze(
            -1
        )
