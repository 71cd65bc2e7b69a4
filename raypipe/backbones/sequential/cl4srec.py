"""CL4SRec: Xie et al., "Contrastive Learning for Sequential Recommendation", ICDE 2022.

SASRec with an additional contrastive loss. It pulls together two random augmentations of a sequence
(cropping, masking or reordering, eq. 5-7) and pushes away those of other sequences in the batch
(eq. 4, 12).

Deviations: as for SASRec; the similarity is the cosine over a temperature (the paper: dot product).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from pydantic import Field

from raypipe.backbones import contract, losses, transformer


class Options(transformer.Options):
    """Hyper-parameters of CL4SRec; defaults by search (docs/backbones.md)."""

    batch_size: int = Field(128, ge=1, description="windows a step")
    learning_rate: float = Field(4.7e-3, gt=0)
    layers: int = Field(1, ge=1)
    contrast: float = Field(0.021, ge=0, description="weight of the contrastive loss")
    temperature: float = Field(1.0, gt=0, description="temperature of the contrastive loss")
    crop: float = Field(0.6, gt=0, le=1, description="share of the sequence that cropping keeps")
    mask: float = Field(0.3, gt=0, le=1, description="share of the items that masking hides")
    reorder: float = Field(
        0.6, gt=0, le=1, description="share of the sequence that reordering shuffles"
    )


class Model(transformer.SequenceRanker):
    """Predicts the next item at every position, and separates sequences by contrast."""

    options: Options
    special = 2

    def batches(
        self, data: contract.FitData, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """Windows of context + 1 items, and two views of each."""
        for window in self.windows(data, self.context + 1, self.context, rng):
            views = (self.view(window[:, 1:], rng) for _ in range(2))
            yield torch.from_numpy(window), *(torch.from_numpy(v) for v in views)

    def view(self, window_BT: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[B, T] each row cropped, masked or reordered, at random."""
        b, t = window_BT.shape
        count = (window_BT != self.n_items).sum(1)
        # 0 at the first item, negative at padding
        place = np.arange(t)[None, :] - (t - count)[:, None]
        kind = rng.integers(0, 3, (b, 1))
        share = np.array([self.options.crop, self.options.mask, self.options.reorder])[kind[:, 0]]
        size = np.maximum(1, np.floor(share * count)).astype(int)[:, None]
        begin = (rng.random((b, 1)) * (count[:, None] - size + 1)).astype(int)
        noise = rng.random((b, t))
        inside = (place >= begin) & (place < begin + size)
        # cropping moves the kept part to the end, reordering sorts it by noise: one gather for both
        shift = np.where(kind == 0, count[:, None] - begin - size, 0)
        key = np.where((kind == 2) & inside, begin + noise * size, place)
        order = np.argsort(key, axis=1, kind="stable")
        source = np.clip(np.arange(t)[None, :] - shift, 0, t - 1)
        view = np.take_along_axis(np.take_along_axis(window_BT, order, 1), source, 1)
        view = np.where((kind == 0) & (place < count[:, None] - size), self.n_items, view)
        rank = np.argsort(np.argsort(np.where(place >= 0, noise, 2.0), axis=1), axis=1)
        return np.where((kind == 1) & (rank < size) & (place >= 0), self.n_items + 1, view)

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        window_BT, one_BT, two_BT = batch
        state = self(window_BT[:, :-1])
        one_Bd, two_Bd = self(torch.cat([one_BT, two_BT]), last=True)[:, -1].chunk(2)
        learn = (window_BT[:, :-1] != self.n_items) & (window_BT[:, 1:] != self.n_items)
        following = self.item_loss(state[learn], window_BT[:, 1:][learn])
        return following + self.options.contrast * losses.two_views(
            one_Bd, two_Bd, self.options.temperature
        )
