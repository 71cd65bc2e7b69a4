"""What a direct backbone begins with for each user and item: ids, texts, or texts and profiles (RecLM R6 to R8).

U = users, I = items, N = U + I, d = embedding size, dt = size of a text vector.

ids                   one vector each, learned
texts                 user: x_u, learned; item: T_raw(f_v) (R6), so that items never seen in training have one, too
texts and profiles    Psi(x_u | T_pro(p_u)) and Psi(T_raw(f_v) | T_pro(p_v)) (R7, the equation and not the text below it: RO8)

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


class Texts(NamedTuple):
    """Text vectors: items [I, dt]; profiles of users [U, dt] and of items [I, dt], or None without."""

    item: np.ndarray
    user_profile: np.ndarray | None = None
    item_profile: np.ndarray | None = None


def projection(wide: int, hidden: int, narrow: int) -> nn.Sequential:
    """T_raw, T_pro or Psi: linear, ReLU, linear."""
    return nn.Sequential(nn.Linear(wide, hidden), nn.ReLU(), nn.Linear(hidden, narrow))


class Entities(nn.Module):
    """The inputs of all users and items, made from ids, texts and profiles."""

    def __init__(self, texts: Texts, n_users: int, size: int, init_std: float) -> None:
        super().__init__()
        self.user = nn.Parameter(torch.empty(n_users, size))
        nn.init.normal_(self.user, std=init_std)
        wide = texts.item.shape[1]
        self.raw = projection(wide, HIDDEN, size)
        self.reading = nn.Linear(wide, 1)
        nn.init.zeros_(self.reading.weight)
        nn.init.zeros_(self.reading.bias)
        self.offset = nn.Parameter(torch.zeros(len(texts.item)))
        self._profiled = [table is not None for table in (texts.user_profile, texts.item_profile)]
        if any(self._profiled):
            self.pro = projection(wide, size, size)
            self.fuse = projection(2 * size, size, size)
        for name, table in texts._asdict().items():
            if table is not None:  # a unit vector's entries are small: scaled, they have a variance of one
                unit = nn.functional.normalize(torch.tensor(table, dtype=torch.float32), dim=1) * wide**0.5
                self.register_buffer(f"text_{name}", unit, persistent=False)

    def forward(self) -> torch.Tensor:
        """[N, size] users first."""
        sides = [self.user, self.raw(self.text_item)]
        for n, table in enumerate(("user_profile", "item_profile")):
            if self._profiled[n]:
                profile = self.pro(getattr(self, f"text_{table}"))
                sides[n] = self.fuse(torch.cat([sides[n], profile], dim=1))
        return torch.cat(sides)

    def offsets(self) -> torch.Tensor:
        """[I] what is added to an item's score for every user."""
        return self.reading(self.text_item)[:, 0] + self.offset
