"""NCF: He et al., "Neural Collaborative Filtering", WWW 2017 (NeuMF).

y_ui = h . [p_u * q_i, MLP(p'_u, q'_i)] (eq. 12), with separate vectors for the product and the MLP.
Log loss over positives and sampled negatives (eq. 7).

Deviations: no pretraining of the two parts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from raypipe.backbones import adam, contract, features, losses, pairwise
from raypipe.backbones.dropout import dropout
from raypipe.backbones.entities import Entities


class Options(pairwise.Options):
    """Hyper-parameters of NCF; defaults by search (docs/backbones.md)."""

    learning_rate: float = Field(2.2e-3, gt=0)
    reg: float = Field(5.5e-5, ge=0, description="L2 penalty on the embeddings of the batch")
    negatives: int = Field(8, ge=1)
    hidden: tuple[int, ...] = Field((32,), min_length=1, description="sizes of the hidden layers")
    dropout: float = Field(0.15, ge=0, lt=1, description="dropout rate in training")


class Model(contract.Ranker):
    """Product and MLP side by side."""

    task = "direct"
    takes_texts = True
    options: Options

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        d = options.embedding_size
        self.entities = None
        if data.texts is not None:
            self.entities = Entities(
                data.texts, data.n_users, 2 * d, 0.01, data.item, options.residual
            )
        else:
            looked_up = options.batch_size * (2 + options.negatives)
            lazy = adam.lazy_update_pays(data.n_users + data.n_items, looked_up)
            self.user, self.item = (
                nn.Embedding(n, 2 * d, sparse=lazy) for n in (data.n_users, data.n_items)
            )
            self.lazy = ("user.weight", "item.weight") if lazy else ()
            for table in (self.user, self.item):
                nn.init.normal_(table.weight, std=0.01)
        # the MLP's first layer over [user, item] is the sum of one layer on each, so scoring all
        # items needs I + B products instead of I B
        self.first_user, self.first_item = (
            nn.Linear(d, options.hidden[0]),
            nn.Linear(d, options.hidden[0], bias=False),
        )
        self.rest = features.mlp(options.hidden[0], options.hidden[1:], options.dropout)
        self.out = nn.Linear(d + options.hidden[-1], 1)
        self._triples = pairwise.Triples(data)
        self._final: tuple[torch.Tensor, ...] = ()

    def forward(self, user_Bd: torch.Tensor, item_BSd: torch.Tensor) -> torch.Tensor:
        """[B, S] scores of S items for each user, from rows of both tables.

        Args:
            item_BSd: a leading dimension of 1 shares the items among all users.
        """
        d = self.options.embedding_size
        (p_user, m_user), (p_item, m_item) = user_Bd.split(d, -1), item_BSd.split(d, -1)
        deep = self.first_user(m_user)[:, None] + self.first_item(m_item)
        deep = self.rest(dropout(F.relu(deep), self.options.dropout, self.training))
        w_product, w_deep = self.out.weight[0].split([d, self.options.hidden[-1]])
        product = (p_item @ (p_user * w_product)[..., None]).squeeze(-1)
        return product + deep @ w_deep + self.out.bias

    def batches(
        self, data: contract.FitData, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        return self._triples.batches(self.options.batch_size, self.options.negatives, rng)

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        user_B, positive_B, negative_BS, _ = batch
        item_BS = torch.cat([positive_B[:, None], negative_BS], dim=1)
        if self.entities is None:
            user, items = self.user(user_B), self.item(item_BS)
            y = self(user, items)
        else:
            user, items = self.entities.users(user_B), F.embedding(item_BS, self.entities.items())
            y = self(user, items) + self.entities.offsets()[item_BS]
        penalty = losses.squared_norm(user, items[:, 0], items[:, 1])
        return (
            F.softplus(-y[:, 0]).mean()
            + F.softplus(y[:, 1:]).sum(1).mean()
            + self.options.reg * penalty
        )

    def score(self, user_B: torch.Tensor, history_BT: torch.Tensor) -> torch.Tensor:
        width = max(2 * self.options.embedding_size, *self.options.hidden)
        # the largest layer of a chunk has some MB, which stay in the cache
        chunk = max(1, 2**22 // (self.n_items * width))
        users, items = self._final
        parts = [self(users[u], items[None]) for u in user_B.split(chunk)]
        return torch.cat(parts) + (0.0 if self.entities is None else self.entities.offsets())

    def begin_scoring(self) -> None:
        self._final = self._tables()

    def _tables(self) -> tuple[torch.Tensor, ...]:
        """The vectors of users [U, 2 d] and of items [I, 2 d]."""
        if self.entities is None:
            return self.user.weight.detach(), self.item.weight.detach()
        return self.entities().detach().split([self.n_users, self.n_items])

    def user_embeddings(self, data: contract.FitData) -> torch.Tensor:
        """The vectors of both parts."""
        return self._tables()[0]
