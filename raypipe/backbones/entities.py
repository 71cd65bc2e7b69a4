"""What a direct backbone begins with for each user and item: ids, texts, or texts and profiles (RecLM R6 to R8).

U = users, I = items, N = U + I, d = embedding size, dt = size of a text vector.

ids                   one vector each, learned
texts                 user: x_u, learned; item: T_raw(f_v) (R6), so that items never seen in training have one, too
texts and profiles    Psi(x_u | T_pro(p_u)) and Psi(T_raw(f_v) | T_pro(p_v)) (R7, the equation and not the text below it: RO8)
the same, residual    x_u + Psi(...) and T_raw(f_v) + Psi(...), where Psi begins as zero: profiles add what training gains by them,
                      and Psi need not learn anew what the base input says; the backbones' default, by measurement

T_raw, T_pro and Psi are linear, ReLU, linear; T_pro and Psi are shared by users and items (RO8). A side without profiles keeps its
base input (Table 2). Beside the vectors an item has a scalar offset, a linear reading of its text and a learned part which is zero
for unseen items: without it, what is popular would have to be learnt through every user's vector.

Deviations: Psi ends in a linear layer, as one that ends in ReLU can only give vectors that all point the same way. T_raw has a wide
hidden layer: through one of d, some thousand texts cannot be told apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

#: width of T_raw's hidden layer; T_pro and Psi, which all users go through in every batch, have one of d
HIDDEN = 256


class TextVectors(NamedTuple):
    """Text vectors: items [I, dt]; profiles of users [U, dt] and of items [I, dt], or None without."""

    item: np.ndarray
    user_profile: np.ndarray | None = None
    item_profile: np.ndarray | None = None


def scaled(table: np.ndarray) -> torch.Tensor:
    """Vectors of length sqrt(dt): a unit vector's entries are small, these have a variance of one; zero stays zero."""
    vectors = torch.tensor(table, dtype=torch.float32)
    return nn.functional.normalize(vectors, dim=1) * vectors.shape[1] ** 0.5


def projection(wide: int, hidden: int, narrow: int) -> nn.Sequential:
    """T_raw, T_pro or Psi: linear, ReLU, linear."""
    return nn.Sequential(nn.Linear(wide, hidden), nn.ReLU(), nn.Linear(hidden, narrow))


class Entities(nn.Module):
    """The inputs of all users and items, made from ids, texts and profiles."""

    text_item: torch.Tensor
    text_trained: torch.Tensor
    trained: torch.Tensor

    def __init__(
        self,
        texts: TextVectors,
        n_users: int,
        size: int,
        init_std: float,
        trained: np.ndarray | None = None,
        residual: bool = False,
    ) -> None:
        """
        Args:
            trained: the items that training meets; in training mode others begin as zero, which costs nothing. None: all.
            residual: Psi's output is added to the base input, in place of replacing it.
        """
        super().__init__()
        self.user = nn.Parameter(torch.empty(n_users, size))
        nn.init.normal_(self.user, std=init_std)
        self._residual = residual
        wide = texts.item.shape[1]
        self.raw = projection(wide, HIDDEN, size)
        self.reading = nn.Linear(wide, 1)
        nn.init.zeros_(self.reading.weight)
        nn.init.zeros_(self.reading.bias)
        self.offset = nn.Parameter(torch.zeros(len(texts.item)))
        rows = np.arange(len(texts.item)) if trained is None else np.unique(trained)
        self.register_buffer("trained", torch.from_numpy(rows), persistent=False)
        self.register_buffer("text_item", scaled(texts.item), persistent=False)
        self.register_buffer("text_trained", self.text_item[self.trained], persistent=False)
        profiles = texts.user_profile, texts.item_profile
        self._profiled = [table is not None for table in profiles]
        if any(self._profiled):
            self.pro = projection(wide, size, size)
            self.fuse = projection(2 * size, size, size)
            if residual:
                for last in self.fuse[-1].parameters():
                    nn.init.zeros_(last)
        for side, table in zip(("user", "item"), profiles, strict=True):
            if table is not None:  # many have the same profile, which goes through T_pro once
                distinct, at = np.unique(
                    np.ascontiguousarray(table, np.float32), axis=0, return_inverse=True
                )
                self.register_buffer(f"profile_{side}", scaled(distinct), persistent=False)
                self.register_buffer(
                    f"of_{side}", torch.from_numpy(at.reshape(-1)), persistent=False
                )

    def forward(self) -> torch.Tensor:
        """[N, size] users first."""
        return torch.cat([self.users(), self.items()])

    def users(self, at_B: torch.Tensor | None = None) -> torch.Tensor:
        """[B, size] what some users begin with, or [U, size] all."""
        return self._fused(
            "user", self.user if at_B is None else nn.functional.embedding(at_B, self.user), at_B
        )

    def items(self) -> torch.Tensor:
        """[I, size] what items begin with."""
        if not self.training:
            return self._fused("item", self.raw(self.text_item), None)
        items = self._fused("item", self.raw(self.text_trained), self.trained)
        whole = items.new_zeros(len(self.text_item), items.shape[1])
        return whole.index_copy(0, self.trained, items)

    def _fused(self, side: str, base_nd: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
        """[n, size] what the rows of a side, or all, begin with, from their base inputs."""
        if not self._profiled[("user", "item").index(side)]:
            return base_nd
        distinct, at = getattr(self, f"profile_{side}"), getattr(self, f"of_{side}")
        at = at if rows is None else at[rows]
        first = self.fuse[0]
        assert isinstance(first, nn.Linear)
        # Psi's first layer over both side by side is the sum of a layer on each; that on profiles is needed once for each distinct
        of_base, of_profile = first.weight.split(base_nd.shape[1], dim=1)
        if len(at) < len(distinct):
            profile = self.pro(distinct[at]) @ of_profile.T
        else:
            profile = nn.functional.embedding(at, self.pro(distinct) @ of_profile.T)
        fused = self.fuse[1:](torch.addmm(first.bias, base_nd, of_base.T) + profile)
        return base_nd + fused if self._residual else fused

    def offsets(self) -> torch.Tensor:
        """[I] what is added to an item's score for every user."""
        return self.reading(self.text_item)[:, 0] + self.offset
