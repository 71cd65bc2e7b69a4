"""Transformer blocks, and what sequential backbones share: item table, places, windows and scoring.

B = batch, T = length, d = width, I = items. Row I of the item table is padding, row I + 1 stands for a masked item.
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
    """Pre-norm self-attention and point-wise feed-forward, as in SASRec (layer norm before each part, residual after)."""

    def __init__(self, width: int, heads: int, dropout: float, inner: int = 1) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=1e-8), nn.LayerNorm(width, eps=1e-8)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, inner * width), nn.Linear(inner * width, width)

    def forward(
        self, x_BTd: torch.Tensor, mask_BTT: torch.Tensor, last: bool = False
    ) -> torch.Tensor:
        """[B, T, d]; mask_BTT is True where row may look at column. With `last` [B, 1, d], the last position alone, to which the
        others only lend their keys and values.
        """
        b, t, d = x_BTd.shape
        normed_BTd = self.norm_1(x_BTd)
        asked_BQd = normed_BTd
        if last:
            x_BTd, asked_BQd, mask_BTT = x_BTd[:, -1:], normed_BTd[:, -1:], mask_BTT[:, -1:]
        w_q, w_kv = self.qkv.weight.split([d, 2 * d])
        b_q, b_kv = self.qkv.bias.split([d, 2 * d])
        q = F.linear(asked_BQd, w_q, b_q).view(b, -1, self.heads, d // self.heads).transpose(1, 2)
        k, v = (
            F.linear(normed_BTd, w_kv, b_kv)
            .view(b, t, 2, self.heads, d // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        if (
            self.training and self.dropout and x_BTd.device.type == "cpu"
        ):  # the fused kernel draws its mask slowly there
            share = (
                (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5)
                .masked_fill(~mask_BTT[:, None], -torch.inf)
                .softmax(-1)
            )
            seen = dropout(share, self.dropout, True) @ v
        else:
            rate = self.dropout if self.training else 0.0
            seen = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask_BTT[:, None], dropout_p=rate
            )
        x_BTd = x_BTd + dropout(
            self.out(seen.transpose(1, 2).reshape(b, -1, d)), self.dropout, self.training
        )
        hidden = dropout(F.relu(self.up(self.norm_2(x_BTd))), self.dropout, self.training)
        return x_BTd + dropout(self.down(hidden), self.dropout, self.training)


def causal_mask(known_BT: torch.Tensor) -> torch.Tensor:
    """[B, T, T] True where a position may be seen: not padding and not later; each position sees at least itself."""
    t = known_BT.shape[1]
    causal = torch.ones(t, t, dtype=torch.bool, device=known_BT.device).tril()
    return (causal & known_BT[:, None, :]) | torch.eye(t, dtype=torch.bool, device=known_BT.device)


def two_sided_mask(known_BT: torch.Tensor) -> torch.Tensor:
    """[B, T, T] True where a position may be seen: any that is not padding; each position sees at least itself."""
    t = known_BT.shape[1]
    return known_BT[:, None, :] | torch.eye(t, dtype=torch.bool, device=known_BT.device)


class Options(contract.Options):
    """Hyper-parameters that the sequential backbones share."""

    batch_size: int = Field(64, ge=1, description="windows a step")
    learning_rate: float = Field(3e-3, gt=0)
    patience: int = Field(5, ge=1)
    context: int = Field(50, ge=2, description="most recent items read")
    layers: int = Field(2, ge=1)
    heads: int = Field(1, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    negatives: int = Field(
        0, ge=0, description="items drawn a batch that each target is told from; 0 = all items"
    )

    @model_validator(mode="after")
    def _whole_heads(self) -> Options:
        if self.embedding_size % self.heads:
            raise ValueError(
                f"embedding_size {self.embedding_size} cannot be divided by {self.heads} heads"
            )
        return self


class SequenceRanker(contract.Ranker):
    """Transformer over the last `context` items; y_ui = h . e_i with the input embeddings as output."""

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
        """[B, T, d] states at each position of the padded history; with `last` [B, 1, d], that of the last alone."""
        known = history_BT != self.n_items
        x = (
            self.items(history_BT) * self.options.embedding_size**0.5
            + self.places[-history_BT.shape[1] :]
        )
        x = dropout(x * known[..., None], self.options.dropout, self.training)
        mask = causal_mask(known) if self.causal else two_sided_mask(known)
        for number, block in enumerate(self.blocks, 1):
            x = block(x, mask, last=last and number == len(self.blocks))
        return self.norm(x)

    def logits(self, state_Nd: torch.Tensor) -> torch.Tensor:
        """[N, I] scores of all items."""
        return state_Nd @ self.items.weight[: self.n_items].T

    def item_loss(self, state_Nd: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of the right item over all items (or a sample), and the L2 penalty on the item table, per target."""
        table_Id = self.items.weight[: self.n_items]
        if 0 < self.options.negatives < self.n_items - 1:
            cross = self.sampled_cross_entropy(state_Nd, item_N)
        elif (
            state_Nd.device.type == "cpu"
        ):  # in pieces that stay in the cache, with their gradients: a third faster there
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
        """Mean cross-entropy over the right item and S items drawn uniformly, the same for all N targets.

        The drawn scores are raised by log((I - 1) / S), so that the sum over them estimates the sum over all other items
        (importance sampling: Bengio and Senécal, IEEE Trans. Neural Networks 2008). Cost a target: S in place of I.
        """
        drawn_S = torch.randint(self.n_items, (self.options.negatives,), device=item_N.device)
        own = (state_Nd * self.items(item_N)).sum(-1, keepdim=True)
        others = torch.addmm(
            state_Nd.new_tensor(np.log((self.n_items - 1) / len(drawn_S))),
            state_Nd,
            self.items(drawn_S).T,
        )
        others = others.masked_fill(item_N[:, None] == drawn_S, -torch.inf)
        return F.cross_entropy(torch.cat([own, others], dim=1), torch.zeros_like(item_N))

    def windows(
        self, data: contract.FitData, width: int, stride: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Batches [B, width] of padded windows that cover every sequence of two items or more from its end."""
        rows, ends = [], []
        for u, length in enumerate(np.diff(data.sequences.start)):
            at = np.arange(length, 1, -stride)
            rows.append(np.full(len(at), u))
            ends.append(at)
        user, end = np.concatenate(rows), np.concatenate(ends)
        values, start = data.sequences.values, data.sequences.start
        for pick in contract.shuffled(len(user), self.options.batch_size, rng):
            offset = (start[user[pick]] + end[pick])[:, None] - np.arange(width, 0, -1)[None, :]
            inside = offset >= start[user[pick]][:, None]
            yield np.where(inside, values[np.maximum(offset, 0)], data.n_items)

    def score(self, user_B: torch.Tensor, history_BT: torch.Tensor) -> torch.Tensor:
        return self.logits(self.last_state(history_BT))

    def user_embeddings(self, data: contract.FitData) -> torch.Tensor:
        """The state after the training sequence: these models have no user table (LO20)."""
        users = np.arange(self.n_users)
        parts = np.array_split(users, max(1, len(users) // 1024))
        padded = (
            torch.from_numpy(data.sequences.last(p, self.context, self.n_items)).to(self.device)
            for p in parts
        )
        return torch.cat([self.last_state(p) for p in padded]).detach()

    def last_state(self, history_BT: torch.Tensor) -> torch.Tensor:
        """[B, d] the state that predicts what comes after the history."""
        return self(history_BT, last=True)[:, -1]
