"""BERT4Rec: Sun et al., CIKM 2019.

"BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer".

Bidirectional self-attention over the last `context` items. A share of the items is masked and
predicted from both sides (eq. 8). For recommendation a mask follows the history.

Deviations: pre-norm blocks with ReLU. The state is multiplied by the item table without a
projection. In some windows (`last`) only the last item is masked, as at inference (the authors'
code appends such samples).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from pydantic import Field

from raypipe.backbones import contract, transformer


class Options(transformer.Options):
    """Hyper-parameters of BERT4Rec."""

    masked: float = Field(0.3, gt=0, lt=1, description="share of items masked in training")
    last: float = Field(
        0.3, ge=0, le=1, description="share of windows in which only the last item is masked"
    )
    stride: float = Field(
        0.5, gt=0, le=1, description="distance between windows of a sequence, as a share of context"
    )


class Model(transformer.SequenceRanker):
    """Fills in masked items."""

    options: Options
    special = 2
    causal = False

    def batches(
        self, data: contract.FitData, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """Windows of `context` items, and their masked positions."""
        stride = max(1, int(self.context * self.options.stride))
        for window in self.windows(data, self.context, stride, rng):
            hidden = rng.random(window.shape) < self.options.masked
            hidden[rng.random(len(window)) < self.options.last] = False
            hidden &= window != data.n_items
            hidden[~hidden.any(1), -1] = True
            yield torch.from_numpy(window), torch.from_numpy(hidden)

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        window_BT, hidden_BT = batch
        state = self(torch.where(hidden_BT, self.n_items + 1, window_BT))
        return self.item_loss(state[hidden_BT], window_BT[hidden_BT])

    def last_state(self, history_BT: torch.Tensor) -> torch.Tensor:
        mask = torch.full_like(history_BT[:, :1], self.n_items + 1)
        return self(torch.cat([history_BT[:, 1:], mask], dim=1), last=True)[:, -1]
