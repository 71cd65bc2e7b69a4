"""Losses as pure functions. B = batch, d = embedding size."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F


def bpr(margin: torch.Tensor) -> torch.Tensor:
    """Bayesian personalised ranking (Llama4Rec eq. 1): mean of -log sigmoid(y_ui - y_uj).

    Args:
        margin: y_ui - y_uj, where the user did not interact with item j (LO6).
    """
    return -F.logsigmoid(margin).mean()


def squared_norm(*embeddings_Bd: torch.Tensor) -> torch.Tensor:
    """Half the squared norm of the batch's embeddings, divided by the batch size."""
    return sum((e.pow(2).sum() for e in embeddings_Bd), torch.zeros(())) / (
        2 * len(embeddings_Bd[0])
    )


def info_nce(
    one_Bd: torch.Tensor, two_Bd: torch.Tensor, others_Nd: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Contrast of two views (SGL eq. 10, SimGCL eq. 2).

    Mean of -log exp(cos(one, two) / t) / sum over others of exp(cos(one, other) / t).

    Args:
        others_Nd: the second views of all candidates, including the positive.
    """
    one, two, others = (F.normalize(x, dim=-1) for x in (one_Bd, two_Bd, others_Nd))
    one = one / temperature  # before the product, which has B x N entries
    # a sum in half precision would lose digits
    safe = temperature > 1 / 60 and not torch.is_autocast_enabled(one.device.type)
    total = (
        _MeanLogSumExp.apply(one, others) if safe else torch.logsumexp(one @ others.T, dim=1).mean()
    )
    return total - (one * two).sum(1).mean()


class _Context(Protocol):
    """Methods of torch's context that pass tensors from the forward to the backward step."""

    saved_tensors: tuple[torch.Tensor, torch.Tensor]

    def save_for_backward(self, *tensors: torch.Tensor) -> None: ...


class _MeanLogSumExp(torch.autograd.Function):
    """Mean over rows a [B, d] of log sum over rows b [N, d] of exp(a . b).

    Products below 60 keep the exponentials finite. The value and both gradients are computed
    together, some rows at a time, so that a CPU works in its cache and never holds all B x N
    entries.
    """

    @staticmethod
    def forward(ctx: _Context, a_Bd: torch.Tensor, b_Nd: torch.Tensor) -> torch.Tensor:
        chunk = 128 if a_Bd.device.type == "cpu" else 8192
        across = b_Nd.T.contiguous()
        value, grads_a, grad_b = a_Bd.new_zeros(()), [], torch.zeros_like(b_Nd)
        for rows in a_Bd.split(chunk):
            powers = (rows @ across).exp_()
            total = powers.sum(1)
            value += total.log().sum()
            share = (
                1 / (total * len(a_Bd))[:, None]
            )  # scales the narrow matrices instead of the wide one
            grads_a.append((powers @ b_Nd).mul_(share))
            grad_b.addmm_(powers.T, rows * share)
        ctx.save_for_backward(torch.cat(grads_a), grad_b)
        return value / len(a_Bd)

    @staticmethod
    def backward(ctx: _Context, *grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        grad_a, grad_b = ctx.saved_tensors
        return grad_a * grad[0], grad_b * grad[0]


def two_views(one_Bd: torch.Tensor, two_Bd: torch.Tensor, temperature: float) -> torch.Tensor:
    """Contrast within a batch (NT-Xent): each of 2 B views must find its partner."""
    b = len(one_Bd)
    views = F.normalize(torch.cat([one_Bd, two_Bd]), dim=1)
    similarity = (views @ views.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.cat([torch.arange(b, 2 * b), torch.arange(b)]).to(views.device)
    return F.cross_entropy(similarity, partner)


def node_contrast(
    one_Nd: torch.Tensor,
    two_Nd: torch.Tensor,
    user_B: torch.Tensor,
    item_B: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """Contrast of two views of the graph, over distinct users and over distinct items."""
    total = torch.zeros((), device=one_Nd.device)
    for nodes in (user_B.unique(), item_B.unique()):
        total = total + info_nce(one_Nd[nodes], two_Nd[nodes], two_Nd[nodes], temperature)
    return total
