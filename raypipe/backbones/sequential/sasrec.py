"""SASRec: Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018.

Causal self-attention over the last `context` items; y_ui = h_T . e_i with the input embeddings as output (shared).

Deviations: the loss is the cross-entropy over all items at each position (the paper: binary, one negative); on ML-100K this
is the stronger and steadier choice. Pre-norm blocks as in the authors' code. An augmented sequence holds the items that the
LLM inserted (Llama4Rec L9), in training only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from raypipe.backbones import contract
from raypipe.backbones.transformer import Block, causal_mask


class Options(contract.Options):
    """Hyper-parameters of SASRec."""

    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    patience: int = Field(5, ge=1)
    context: int = Field(50, ge=2, description="most recent items read")
    layers: int = Field(2, ge=1)
    heads: int = Field(1, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)


class Model(contract.Ranker):
    """SASRec with a shared item table; row I is padding."""

    task = "sequential"
    options: Options

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        self.context = options.context
        self.items = nn.Embedding(data.n_items + 1, options.embedding_size)
        self.places = nn.Parameter(torch.empty(options.context, options.embedding_size))
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.normal_(self.places, std=0.02)
        self.blocks = nn.ModuleList(Block(options.embedding_size, options.heads, options.dropout) for _ in range(options.layers))
        self.norm = nn.LayerNorm(options.embedding_size, eps=1e-8)

    def forward(self, history_BT: torch.Tensor) -> torch.Tensor:
        """[B, T, d] states after each position of the padded history."""
        known = history_BT != self.n_items
        x = self.items(history_BT) * self.options.embedding_size**0.5 + self.places[-history_BT.shape[1] :]
        x = F.dropout(x * known[..., None], self.options.dropout, self.training)
        mask = causal_mask(known)
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)

    def batches(self, data: contract.FitData, rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, ...]]:
        """Windows of context + 1 items that cover every sequence from its end."""
        width = self.options.context + 1
        rows, ends = [], []
        for u, length in enumerate(np.diff(data.sequences.start)):
            at = np.arange(length, 1, -self.options.context)
            rows.append(np.full(len(at), u))
            ends.append(at)
        user, end = np.concatenate(rows), np.concatenate(ends)
        values, start = data.sequences.values, data.sequences.start
        for pick in contract.shuffled(len(user), self.options.batch_size, rng):
            offset = (start[user[pick]] + end[pick])[:, None] - np.arange(width, 0, -1)[None, :]
            inside = offset >= start[user[pick]][:, None]
            yield (torch.from_numpy(np.where(inside, values[np.maximum(offset, 0)], data.n_items)),)

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        (window_BT,) = batch
        state = self(window_BT[:, :-1])
        learn = (window_BT[:, :-1] != self.n_items) & (window_BT[:, 1:] != self.n_items)
        logits = state[learn] @ self.items.weight[:-1].T
        return F.cross_entropy(logits, window_BT[:, 1:][learn]) + self.options.reg * self.items.weight.pow(2).sum() / 2 / len(
            logits
        )

    def score(self, user_B: torch.Tensor, history_BT: torch.Tensor) -> torch.Tensor:
        return self(history_BT)[:, -1] @ self.items.weight[:-1].T

    def user_embeddings(self, data: contract.FitData) -> torch.Tensor:
        """The state after the training sequence: SASRec has no user table (LO20)."""
        users = np.arange(self.n_users)
        parts = np.array_split(users, max(1, len(users) // 1024))
        padded = (torch.from_numpy(data.sequences.last(p, self.context, self.n_items)) for p in parts)
        return torch.cat([self(p)[:, -1] for p in padded]).detach()
