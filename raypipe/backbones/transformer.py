"""Transformer blocks, and the item table, positions, windows and scores of sequential backbones.

B = batch, T = length, d = width, I = items. Row I of the item table is padding, row I + 1 a masked
item.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import nn

from raypipe.backbones import contract
from raypipe.backbones.dropout import dropout


class Block(nn.Module):
    """Pre-norm self-attention and point-wise feed-forward, as in SASRec.

    A layer norm comes before each part, a residual connection after it.
    """

    def __init__(self, width: int, heads: int, dropout: float, inner: int = 1) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=1e-8), nn.LayerNorm(width, eps=1e-8)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, inner * width), nn.Linear(inner * width, width)

    def forward(
        self, x_BTd: torch.Tensor, mask_BTT: torch.Tensor, last: bool = False
    ) -> torch.Tensor:
        """[B, T, d] states.

        Args:
            mask_BTT: True where the position of the row may attend to that of the column.
            last: return [B, 1, d], the state of the last position only.
        """
        b, t, d = x_BTd.shape
        normed_BTd = self.norm_1(x_BTd)
        query_BQd = normed_BTd
        if last:
            x_BTd, query_BQd, mask_BTT = x_BTd[:, -1:], normed_BTd[:, -1:], mask_BTT[:, -1:]
        w_q, w_kv = self.qkv.weight.split([d, 2 * d])
        b_q, b_kv = self.qkv.bias.split([d, 2 * d])
        q = F.linear(query_BQd, w_q, b_q).view(b, -1, self.heads, d // self.heads).transpose(1, 2)
        k, v = (
            F.linear(normed_BTd, w_kv, b_kv)
            .view(b, t, 2, self.heads, d // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        if self.training and self.dropout and x_BTd.device.type == "cpu":
            # on a CPU the fused kernel draws its dropout mask slowly
            share = (
                (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5)
                .masked_fill(~mask_BTT[:, None], -torch.inf)
                .softmax(-1)
            )
            attended = dropout(share, self.dropout, True) @ v
        else:
            rate = self.dropout if self.training else 0.0
            attended = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask_BTT[:, None], dropout_p=rate
            )
        x_BTd = x_BTd + dropout(
            self.out(attended.transpose(1, 2).reshape(b, -1, d)), self.dropout, self.training
        )
        hidden = dropout(F.relu(self.up(self.norm_2(x_BTd))), self.dropout, self.training)
        return x_BTd + dropout(self.down(hidden), self.dropout, self.training)


def causal_mask(filled_BT: torch.Tensor) -> torch.Tensor:
    """[B, T, T] True where a position may attend: to no padding and no later position.

    Each position may attend at least to itself.
    """
    t = filled_BT.shape[1]
    causal = torch.ones(t, t, dtype=torch.bool, device=filled_BT.device).tril()
    return (causal & filled_BT[:, None, :]) | torch.eye(
        t, dtype=torch.bool, device=filled_BT.device
    )


def two_sided_mask(filled_BT: torch.Tensor) -> torch.Tensor:
    """[B, T, T] True where a position may attend: to all but padding, and at least to itself."""
    t = filled_BT.shape[1]
    return filled_BT[:, None, :] | torch.eye(t, dtype=torch.bool, device=filled_BT.device)


class Options(contract.Options):
    """Hyper-parameters that the sequential backbones share."""

    batch_size: int = Field(64, ge=1, description="windows a step")
    learning_rate: float = Field(3e-3, gt=0)
    patience: int = Field(5, ge=1)
    context: int = Field(50, ge=2, description="length of the history: most recent items")
    layers: int = Field(2, ge=1, description="transformer blocks")
    heads: int = Field(1, ge=1, description="attention heads; they divide embedding_size")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout rate in training")
    negatives: int = Field(
        0, ge=0, description="items sampled per batch for the softmax; 0 = all items"
    )

    @model_validator(mode="after")
    def _whole_heads(self) -> Options:
        if self.embedding_size % self.heads:
            raise ValueError(
                f"embedding_size {self.embedding_size} cannot be divided by {self.heads} heads"
            )
        return self


class SequenceRanker(contract.Ranker):
    """Transformer over the last `context` items; y_ui = h . e_i with shared embeddings."""

    task = "sequential"
    mixed_precision = True
    options: Options
    #: rows of the item table after the items: padding, and for models that mask, the mask
    special = 1
    causal = True

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        self.context = options.context
        self.items = nn.Embedding(data.n_items + self.special, options.embedding_size)
        self.places = nn.Parameter(torch.empty(options.context, options.embedding_size))
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.normal_(self.places, std=0.02)
        self.blocks = nn.ModuleList(
            Block(options.embedding_size, options.heads, options.dropout)
            for _ in range(options.layers)
        )
        self.norm = nn.LayerNorm(options.embedding_size, eps=1e-8)

    def forward(self, history_BT: torch.Tensor, last: bool = False) -> torch.Tensor:
        """[B, T, d] states of the padded history; with `last` [B, 1, d], the last position only."""
        filled = history_BT != self.n_items
        x = (
            self.items(history_BT) * self.options.embedding_size**0.5
            + self.places[-history_BT.shape[1] :]
        )
        x = dropout(x * filled[..., None], self.options.dropout, self.training)
        mask = causal_mask(filled) if self.causal else two_sided_mask(filled)
        for number, block in enumerate(self.blocks, 1):
            x = block(x, mask, last=last and number == len(self.blocks))
        return self.norm(x)

    def logits(self, state_Nd: torch.Tensor) -> torch.Tensor:
        """[N, I] scores of all items."""
        return state_Nd @ self.items.weight[: self.n_items].T

    def item_loss(self, state_Nd: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy over all or sampled items, plus the L2 penalty on the item table."""
        table_Id = self.items.weight[: self.n_items]
        if 0 < self.options.negatives < self.n_items - 1:
            cross = self.sampled_cross_entropy(state_Nd, item_N)
        elif state_Nd.device.type == "cpu":
            # in chunks that stay in the cache with their gradients: a third faster on a CPU
            cross = F.linear_cross_entropy(
                state_Nd,
                table_Id,
                item_N,
                options=nn.LinearCrossEntropyOptions(batch_chunk_size=512),
            )
        else:
            cross = F.cross_entropy(state_Nd @ table_Id.T, item_N)
        return cross + self.options.reg * self.items.weight.pow(2).sum() / 2 / len(item_N)

    def sampled_cross_entropy(self, state_Nd: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy over the target and S items drawn uniformly, the same for all targets.

        The drawn scores are raised by log((I - 1) / S), so that their sum estimates the sum over
        all other items (importance sampling: Bengio and Senécal, IEEE Trans. Neural Networks 2008).
        A target costs S scores instead of I.
        """
        drawn_S = torch.randint(self.n_items, (self.options.negatives,), device=item_N.device)
        target = (state_Nd * self.items(item_N)).sum(-1, keepdim=True)
        others = torch.addmm(
            state_Nd.new_tensor(np.log((self.n_items - 1) / len(drawn_S))),
            state_Nd,
            self.items(drawn_S).T,
        )
        others = others.masked_fill(item_N[:, None] == drawn_S, -torch.inf)
        return F.cross_entropy(torch.cat([target, others], dim=1), torch.zeros_like(item_N))

    def windows(
        self, data: contract.FitData, width: int, stride: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Batches [B, width] of padded windows over every sequence of two items or more.

        The windows are placed from the end of a sequence backwards.
        """
        rows, ends = [], []
        for u, length in enumerate(np.diff(data.sequences.start)):
            window_ends = np.arange(length, 1, -stride)
            rows.append(np.full(len(window_ends), u))
            ends.append(window_ends)
        user, end = np.concatenate(rows), np.concatenate(ends)
        values, start = data.sequences.values, data.sequences.start
        for pick in contract.shuffled(len(user), self.options.batch_size, rng):
            offset = (start[user[pick]] + end[pick])[:, None] - np.arange(width, 0, -1)[None, :]
            inside = offset >= start[user[pick]][:, None]
            yield np.where(inside, values[np.maximum(offset, 0)], data.n_items)

    def score(self, user_B: torch.Tensor, history_BT: torch.Tensor) -> torch.Tensor:
        return self.logits(self.last_state(history_BT))

    def user_embeddings(self, data: contract.FitData) -> torch.Tensor:
        """The state after the training sequence, because these models have no user table (LO20)."""
        users = np.arange(self.n_users)
        parts = np.array_split(users, max(1, len(users) // 1024))
        states = []
        for part in parts:
            history = data.sequences.last(part, self.context, self.n_items)
            states.append(self.last_state(torch.from_numpy(history).to(self.device)))
        return torch.cat(states).detach()

    def last_state(self, history_BT: torch.Tensor) -> torch.Tensor:
        """[B, d] the state that predicts the next item after the history."""
        return self(history_BT, last=True)[:, -1]
