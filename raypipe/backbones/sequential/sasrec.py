"""SASRec: Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018.

Causal self-attention over the last `context` items. y_ui = h_T . e_i, where input and output share
the embeddings.

Deviations: the loss is the cross-entropy over all items at each position (the paper: binary, one
negative), which is better and more stable on ML-100K. Pre-norm blocks as in the authors' code. In
training, a sequence may hold items that the LLM inserted (Llama4Rec L9).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from raypipe.backbones import contract, transformer


class Options(transformer.Options):
    """Hyper-parameters of SASRec."""


class Model(transformer.SequenceRanker):
    """Predicts the next item at every position."""

    options: Options

    def batches(
        self, data: contract.FitData, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """Windows of context + 1 items."""
        for window in self.windows(data, self.context + 1, self.context, rng):
            yield (torch.from_numpy(window),)

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        (window_BT,) = batch
        state = self(window_BT[:, :-1])
        learn = (window_BT[:, :-1] != self.n_items) & (window_BT[:, 1:] != self.n_items)
        return self.item_loss(state[learn], window_BT[:, 1:][learn])
