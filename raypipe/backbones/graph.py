"""The user-item graph and its propagation. N = users + items, d = embedding size."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import to_torch_csr_tensor


def normalised_adjacency(user: np.ndarray, item: np.ndarray, n_users: int, n_items: int) -> torch.Tensor:
    """[N, N] symmetric D^-1/2 A D^-1/2 as sparse CSR, without self-loops."""
    left, right = torch.tensor(user), torch.tensor(item) + n_users  # a copy: shared arrays are read-only
    edges = torch.stack([torch.cat([left, right]), torch.cat([right, left])])
    edges, weight = gcn_norm(edges, num_nodes=n_users + n_items, add_self_loops=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")
        return to_torch_csr_tensor(edges, weight, size=(n_users + n_items, n_users + n_items))


class _Propagate(torch.autograd.Function):
    """A @ X for a symmetric A: the backward pass is the same product, so no transpose is built."""

    @staticmethod
    def forward(ctx: Any, adjacency: torch.Tensor, x_Nd: torch.Tensor) -> torch.Tensor:
        ctx.adjacency = adjacency
        return adjacency @ x_Nd

    @staticmethod
    def backward(ctx: Any, *grad_Nd: torch.Tensor) -> tuple[None, torch.Tensor]:
        return None, ctx.adjacency @ grad_Nd[0]


def propagate(adjacency: torch.Tensor, x_Nd: torch.Tensor) -> torch.Tensor:
    """One step [N, d] over a symmetric adjacency."""
    return _Propagate.apply(adjacency, x_Nd)
