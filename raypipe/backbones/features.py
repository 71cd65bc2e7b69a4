"""Categorical fields of rating models: user id, item id and the side features of both, in one table of embeddings."""

from __future__ import annotations

import numpy as np
import torch

from raypipe.backbones.contract import FitData


class Fields:
    """Row numbers of each field in a shared embedding table.

    Attributes:
        user_rows: [U, 1 + F] rows of the user's fields; item_rows: [I, 1 + G].
        size: rows of the table. count: fields, 2 + F + G.
    """

    def __init__(self, data: FitData) -> None:
        sizes = [data.n_users, *data.user_sizes, data.n_items, *data.item_sizes]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        n_user = 1 + len(data.user_sizes)
        user = np.column_stack([np.arange(data.n_users), data.user_codes]) + starts[:n_user]
        item = np.column_stack([np.arange(data.n_items), data.item_codes]) + starts[n_user:-1]
        self.user_rows, self.item_rows = torch.from_numpy(user.astype(np.int64)), torch.from_numpy(item.astype(np.int64))
        self.size, self.count = int(starts[-1]), len(sizes)

    def rows(self, user_B: torch.Tensor, item_B: torch.Tensor) -> torch.Tensor:
        """[B, count] rows of a batch."""
        return torch.cat([self.user_rows[user_B], self.item_rows[item_B]], dim=1)
