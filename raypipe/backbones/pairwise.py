"""Shared by direct backbones: triples of user, positive and negatives; scores as dot products.

B = batch, S = negatives per positive, U = users, I = items, d = embedding size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from raypipe.backbones import adam, contract, graph, losses
from raypipe.backbones.entities import Entities
from raypipe.backbones.negatives import Negatives


class Options(contract.Options):
    """Hyper-parameters that the direct backbones share."""

    learning_rate: float = Field(5e-3, gt=0)
    patience: int = Field(20, ge=1)
    negatives: int = Field(
        1,
        ge=1,
        description="negatives per positive, drawn uniformly from items not in the user's history",
    )
    init_std: float = Field(0.1, gt=0, description="standard deviation of the initial embeddings")
    residual: bool = Field(
        True,
        description="add profiles to the base input of users and items; false: fuse both (R7)",
    )


class Triples:
    """Draws training triples, including the preference pairs of the LLM (Llama4Rec L7)."""

    def __init__(self, data: contract.FitData) -> None:
        self.sampler, self.n, self.pairs = Negatives(data), len(data.user), data.pairs
        self.user = np.concatenate([data.user, data.pairs[:, 0]])
        self.positive = np.concatenate([data.item, data.pairs[:, 1]])

    def batches(
        self, size: int, negatives: int, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """Batches of user [B], positive [B], negative [B, S] and judged [B].

        `judged` marks preference pairs of the LLM, whose negative is the item it prefers less.
        """
        order = rng.permutation(len(self.user))
        step = size * contract.BATCHES_PER_DRAW
        for first in range(0, len(order), step):
            rows = order[first : first + step]
            user = self.user[rows]
            negative = self.sampler.draw(user, negatives, rng)
            judged = rows >= self.n
            if judged.any():
                negative[judged] = self.pairs[rows[judged] - self.n, 2][:, None]
            arrays = (user, self.positive[rows], negative, judged)
            yield from zip(*(torch.from_numpy(a).split(size) for a in arrays), strict=True)


class DotRanker(contract.Ranker):
    """y_ui = e_u . e_i over one table of users and items, with BPR loss (Llama4Rec eq. 1).

    A backbone may propagate the table over the graph.
    """

    task = "direct"
    takes_texts = True
    options: Options

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        self.entities = None
        if data.texts is not None:
            self.entities = Entities(
                data.texts,
                data.n_users,
                options.embedding_size,
                options.init_std,
                data.item,
                options.residual,
            )
        else:
            self.embedding = nn.Parameter(
                torch.empty(data.n_users + data.n_items, options.embedding_size)
            )
            nn.init.normal_(self.embedding, std=options.init_std)
            looked_up = options.batch_size * (2 + options.negatives)
            untouched = not self.propagates and type(self).scored is DotRanker.scored
            if untouched and adam.lazy_update_pays(len(self.embedding), looked_up):
                self.lazy = ("embedding",)
        self._triples = Triples(data)
        self._final: torch.Tensor | None = None

    @property
    def propagates(self) -> bool:
        """Whether final embeddings depend on those of other users and items."""
        return type(self).final is not DotRanker.final

    def start(self) -> torch.Tensor:
        """[U + I, d] input embeddings of users and items."""
        return self.embedding if self.entities is None else self.entities()

    def final(self, start_Nd: torch.Tensor) -> torch.Tensor:
        """[U + I, d] final embeddings, whose dot products are the scores."""
        return start_Nd

    def forward(self) -> torch.Tensor:
        """[U + I, d] or, with offsets of items, [U + I, d + 1]: final embeddings."""
        return self.scored(self.final(self.start()))

    def scored(self, final_Nd: torch.Tensor) -> torch.Tensor:
        """Final embeddings, with a column of item offsets where items have texts."""
        return (
            final_Nd if self.entities is None else with_offsets(final_Nd, self.entities.offsets())
        )

    def batches(
        self, data: contract.FitData, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        return self._triples.batches(self.options.batch_size, self.options.negatives, rng)

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        if self.entities is not None and not self.propagates:  # only the batch's users are needed
            user_B, *others = batch
            start = torch.cat([self.entities.users(user_B), self.entities.items()])
            batch = torch.arange(len(user_B), device=user_B.device), *others
        else:
            start = self.start()
        return self.pair_loss(start, self.scored(self.final(start)), *batch)

    def pair_loss(
        self, start_Nd: torch.Tensor, final_Nd: torch.Tensor, *batch: torch.Tensor
    ) -> torch.Tensor:
        """BPR over final embeddings, and the L2 penalty on input embeddings (first negative only).

        Args:
            start_Nd, final_Nd: embeddings of the users, to whose rows the batch refers, and of all
                items.
        """
        user_B, positive_B, negative_BS, _ = batch
        b, s = negative_BS.shape
        users = len(start_Nd) - self.n_items
        nodes = torch.cat([user_B, positive_B + users, negative_BS.T.flatten() + users])
        # one gather forward, so one scatter backward
        rows = F.embedding(nodes, final_Nd, sparse=bool(self.lazy))
        user, positive, negative = rows.split([b, b, b * s])
        margin = (user * (positive - negative.view(s, b, -1))).sum(-1)
        raw = rows if final_Nd is start_Nd else F.embedding(nodes[: 3 * b], start_Nd)
        flat = raw[: 3 * b].flatten()
        return losses.bpr(margin) + self.options.reg * flat.dot(flat) / (2 * b)

    def begin_scoring(self) -> None:
        self._final = self().detach()

    def score(self, user_B: torch.Tensor, history_BT: torch.Tensor) -> torch.Tensor:
        assert self._final is not None, "call begin_scoring first"
        return self._final[user_B] @ self._final[self.n_users :].T

    def user_embeddings(self, data: contract.FitData) -> torch.Tensor:
        return self.final(self.start()).detach()[: self.n_users]


def with_offsets(final_Nd: torch.Tensor, offset_I: torch.Tensor) -> torch.Tensor:
    """[U + I, d + 1] embeddings whose dot products include the item offset.

    The last column is one for users and the offset for items.
    """
    ones = torch.ones(len(final_Nd) - len(offset_I), dtype=offset_I.dtype, device=offset_I.device)
    return torch.cat([final_Nd, torch.cat([ones, offset_I])[:, None]], dim=1)


class GraphOptions(Options):
    """Hyper-parameters that the graph models share."""

    layers: int = Field(2, ge=1, description="propagation steps")


class GraphRanker(DotRanker):
    """A `DotRanker` whose final embeddings are the mean over the layers of LightGCN (eq. 7, 8).

    Items with texts keep their input embeddings, because cold-start items have no neighbours (RecLM
    RO11).
    """

    options: GraphOptions

    def __init__(self, data: contract.FitData, options: GraphOptions) -> None:
        super().__init__(data, options)
        self.graph = graph.Propagation(data, options.layers)

    def final(self, start_Nd: torch.Tensor) -> torch.Tensor:
        return self.with_item_inputs(start_Nd, self.view(start_Nd))

    def with_item_inputs(self, start_Nd: torch.Tensor, mean_Nd: torch.Tensor) -> torch.Tensor:
        """[U + I, d] final embeddings from the mean over the layers."""
        return (
            mean_Nd
            if self.entities is None
            else torch.cat([mean_Nd[: self.n_users], start_Nd[self.n_users :]])
        )

    def view(self, start_Nd: torch.Tensor) -> torch.Tensor:
        """[U + I, d] mean over the layers."""
        return self.graph.mean(start_Nd)
