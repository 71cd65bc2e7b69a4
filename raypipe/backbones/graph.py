"""The user-item graph and its propagation. N = users + items, d = embedding size."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import to_torch_csr_tensor

from raypipe.backbones.contract import FitData


def normalised_adjacency(
    user: np.ndarray, item: np.ndarray, n_users: int, n_items: int
) -> torch.Tensor:
    """[N, N] symmetric D^-1/2 A D^-1/2 as sparse CSR, without self-loops."""
    # copies, because shared arrays are read-only
    left, right = torch.tensor(user), torch.tensor(item) + n_users
    edges = torch.stack([torch.cat([left, right]), torch.cat([right, left])])
    edges, weight = gcn_norm(edges, num_nodes=n_users + n_items, add_self_loops=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")
        return to_torch_csr_tensor(edges, weight, size=(n_users + n_items, n_users + n_items))


class _Context(Protocol):
    """Attributes of torch's context that pass values from the forward to the backward step."""

    adjacency: torch.Tensor
    depth: int


class _Propagate(torch.autograd.Function):
    """A @ X for a symmetric A: the backward pass is the same product, so no transpose is built."""

    @staticmethod
    def forward(ctx: _Context, adjacency: torch.Tensor, x_Nd: torch.Tensor) -> torch.Tensor:
        ctx.adjacency = adjacency
        return adjacency @ x_Nd

    @staticmethod
    def backward(ctx: _Context, *grad_Nd: torch.Tensor) -> tuple[None, torch.Tensor]:
        return None, ctx.adjacency @ grad_Nd[0]


def propagate(adjacency: torch.Tensor, x_Nd: torch.Tensor) -> torch.Tensor:
    """One step [N, d] over a symmetric adjacency."""
    return _Propagate.apply(adjacency, x_Nd)


class _MeanOfPowers(torch.autograd.Function):
    """By Horner's rule, x + A (x + A x): each step adds one product, without a sum over layers."""

    @staticmethod
    def forward(
        ctx: _Context, adjacency: torch.Tensor, depth: int, x_Nd: torch.Tensor
    ) -> torch.Tensor:
        ctx.adjacency, ctx.depth = adjacency, depth
        total = x_Nd
        for step in range(depth):
            share = 1.0 if step < depth - 1 else 1.0 / (depth + 1)
            total = torch.addmm(x_Nd, adjacency, total, beta=share, alpha=share)
        return total if depth else x_Nd.clone()

    @staticmethod
    def backward(ctx: _Context, *grad_Nd: torch.Tensor) -> tuple[None, None, torch.Tensor]:
        return None, None, _MeanOfPowers.apply(ctx.adjacency, ctx.depth, grad_Nd[0])


def mean_of_powers(adjacency: torch.Tensor, depth: int, x_Nd: torch.Tensor) -> torch.Tensor:
    """[N, d] (x + A x + ... + A^depth x) / (depth + 1) for a symmetric A."""
    return _MeanOfPowers.apply(adjacency, depth, x_Nd)


class Propagation(nn.Module):
    """`depth` steps over the graph of the training rows."""

    adjacency: torch.Tensor

    def __init__(self, data: FitData, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.register_buffer(
            "adjacency",
            normalised_adjacency(data.user, data.item, data.n_users, data.n_items),
            persistent=False,
        )

    def forward(
        self,
        start_Nd: torch.Tensor,
        change: Callable[[torch.Tensor], torch.Tensor] | None = None,
        steps: Sequence[torch.Tensor] | None = None,
        first: torch.Tensor | None = None,
    ) -> list[torch.Tensor]:
        """The embeddings before and after each step, depth + 1 of [N, d].

        Args:
            change: function applied to the result of each step, e.g. to add noise.
            steps: the adjacency of each step, instead of that of the whole graph.
            first: the result of the first step before `change`, if already computed.
        """
        layers = [start_Nd]
        for adjacency in steps or [self.adjacency] * self.depth:
            x = propagate(adjacency, layers[-1]) if first is None or len(layers) > 1 else first
            layers.append(x if change is None else change(x))
        return layers

    def mean(
        self, start_Nd: torch.Tensor, steps: Sequence[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """[N, d] mean of the embeddings before and after each step; `steps` as above."""
        steps = steps or [self.adjacency] * self.depth
        if all(step is steps[0] for step in steps):
            return mean_of_powers(steps[0], len(steps), start_Nd)
        return layer_mean(self(start_Nd, steps=steps))


def layer_mean(layers_Nd: list[torch.Tensor]) -> torch.Tensor:
    """[N, d] mean over layers."""
    total = layers_Nd[0]
    for layer in layers_Nd[1:]:
        total = total + layer
    return total / len(layers_Nd)
