"""Input vectors of users and items in direct backbones: ids, texts, profiles (RecLM R6 to R8).

U = users, I = items, N = U + I, d = embedding size, dt = size of a text vector.

ids                   one vector each, learned
texts                 user: x_u, learned; item: T_raw(f_v) (R6), which also covers cold-start items
texts and profiles    Psi(x_u | T_pro(p_u)) and Psi(T_raw(f_v) | T_pro(p_v)) (R7 by the equation
                      instead of the text below it: RO8)
the same, residual    x_u + Psi(...) and T_raw(f_v) + Psi(...), where Psi starts at zero, so
                      profiles only add what training gains from them; the default, by measurement

T_raw, T_pro and Psi are linear, ReLU, linear. Users and items share T_pro and Psi (RO8). Without
profiles, users or items keep their base input (Table 2). Each item also has a scalar offset: a
linear function of its text, plus a learned part that is zero for unseen items. Without the offset,
every user's vector would have to encode popularity.

Deviations: Psi ends in a linear layer, because an ending in ReLU gives vectors with positive
entries only. T_raw has a wide hidden layer; one of width d cannot separate some thousand texts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

#: width of T_raw's hidden layer; T_pro and Psi run for all users in every batch and have width d
HIDDEN = 256
KINDS = ("user", "item")


class TextVectors(NamedTuple):
    """Vectors of item texts [I, dt], user profiles [U, dt] and item profiles [I, dt], or None."""

    item: np.ndarray
    user_profile: np.ndarray | None = None
    item_profile: np.ndarray | None = None


def scaled(table: np.ndarray) -> torch.Tensor:
    """Vectors scaled to length sqrt(dt): their entries have variance one; zero stays zero."""
    vectors = torch.tensor(table, dtype=torch.float32)
    return nn.functional.normalize(vectors, dim=1) * vectors.shape[1] ** 0.5


def projection(wide: int, hidden: int, narrow: int) -> nn.Sequential:
    """T_raw, T_pro or Psi: linear, ReLU, linear."""
    return nn.Sequential(nn.Linear(wide, hidden), nn.ReLU(), nn.Linear(hidden, narrow))


class Entities(nn.Module):
    """The input vectors of all users and items, from ids, texts and profiles."""

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
            trained: the items with training rows; in training mode the input of the others is zero,
                which saves time. None: all items.
            residual: add Psi's output to the base input, instead of replacing it.
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
        for kind, table in zip(KINDS, profiles, strict=True):
            if table is not None:  # equal profiles go through T_pro once
                distinct, number = np.unique(
                    np.ascontiguousarray(table, np.float32), axis=0, return_inverse=True
                )
                profile_number = torch.from_numpy(number.reshape(-1))
                self.register_buffer(f"profile_{kind}", scaled(distinct), persistent=False)
                self.register_buffer(f"profile_number_{kind}", profile_number, persistent=False)

    def forward(self) -> torch.Tensor:
        """[N, size] users first."""
        return torch.cat([self.users(), self.items()])

    def users(self, user_B: torch.Tensor | None = None) -> torch.Tensor:
        """[B, size] input vectors of some users, or [U, size] of all."""
        base = self.user if user_B is None else nn.functional.embedding(user_B, self.user)
        return self._fused("user", base, user_B)

    def items(self) -> torch.Tensor:
        """[I, size] input vectors of all items."""
        if not self.training:
            return self._fused("item", self.raw(self.text_item), None)
        items = self._fused("item", self.raw(self.text_trained), self.trained)
        whole = items.new_zeros(len(self.text_item), items.shape[1])
        return whole.index_copy(0, self.trained, items)

    def _fused(self, kind: str, base_nd: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
        """[n, size] input vectors of some users or items (or all) from their base inputs."""
        if not self._profiled[KINDS.index(kind)]:
            return base_nd
        distinct = getattr(self, f"profile_{kind}")
        number = getattr(self, f"profile_number_{kind}")
        number = number if rows is None else number[rows]
        first = self.fuse[0]
        assert isinstance(first, nn.Linear)
        # Psi's first layer over the concatenation is the sum of one layer on each part; the part of
        # the profiles is computed once per distinct profile
        w_base, w_profile = first.weight.split(base_nd.shape[1], dim=1)
        if len(number) < len(distinct):
            profile = self.pro(distinct[number]) @ w_profile.T
        else:
            profile = nn.functional.embedding(number, self.pro(distinct) @ w_profile.T)
        fused = self.fuse[1:](torch.addmm(first.bias, base_nd, w_base.T) + profile)
        return base_nd + fused if self._residual else fused

    def offsets(self) -> torch.Tensor:
        """[I] offset of each item, added to its score for every user."""
        return self.reading(self.text_item)[:, 0] + self.offset
