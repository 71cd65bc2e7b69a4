"""Losses as pure functions. B = batch, d = embedding size."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F


def bpr(margin: torch.Tensor) -> torch.Tensor:
    """Bayesian personalised ranking (Llama4Rec eq. 1): mean of -log sigmoid(y_ui - y_uj), from the margins y_ui - y_uj.

    j was not interacted with (LO6).
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
    """Contrast of two views: mean of -log exp(cos(one, two) / t) / sum over others of exp(cos(one, other) / t).

    `others` holds the second views of all candidates, the positive among them (SGL eq. 10, SimGCL eq. 2).
    """
    one, two, others = (F.normalize(x, dim=-1) for x in (one_Bd, two_Bd, others_Nd))
    one = one / temperature  # before the product, whose B x N entries are many more
    safe = temperature > 1 / 60 and not torch.is_autocast_enabled(
        one.device.type
    )  # a sum of halves would lose its last places
    total = (
        _MeanLogSumExp.apply(one, others) if safe else torch.logsumexp(one @ others.T, dim=1).mean()
    )
    return total - (one * two).sum(1).mean()


class _MeanLogSumExp(torch.autograd.Function):
    """Mean over rows a of log sum exp(a . b) over rows b, [B, d] and [N, d]; products below 60 keep the exponentials finite.

    Both gradients are made with the value, some rows at a time: what a CPU keeps in its cache need not go to memory and back, and
    the B x N entries are never there at once.
    """

    @staticmethod
    def forward(ctx: Any, a_Bd: torch.Tensor, b_Nd: torch.Tensor) -> torch.Tensor:
        at_once = 128 if a_Bd.device.type == "cpu" else 8192
        across = b_Nd.T.contiguous()
        value, grads_a, grad_b = a_Bd.new_zeros(()), [], torch.zeros_like(b_Nd)
        for rows in a_Bd.split(at_once):
            powers = (rows @ across).exp_()
            total = powers.sum(1)
            value += total.log().sum()
            share = 1 / (total * len(a_Bd))[:, None]  # on the narrow matrices, not on the wide one
            grads_a.append((powers @ b_Nd).mul_(share))
            grad_b.addmm_(powers.T, rows * share)
        ctx.save_for_backward(torch.cat(grads_a), grad_b)
        return value / len(a_Bd)

    @staticmethod
    def backward(ctx: Any, *grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        grad_a, grad_b = ctx.saved_tensors
        return grad_a * grad[0], grad_b * grad[0]


def two_views(one_Bd: torch.Tensor, two_Bd: torch.Tensor, temperature: float) -> torch.Tensor:
    """Contrast within a batch: each of the 2 B views against the 2 B - 1 others, of which one is its partner (NT-Xent)."""
    b = len(one_Bd)
    views = F.normalize(torch.cat([one_Bd, two_Bd]), dim=1)
    likeness = (views @ views.T / temperature).fill_diagonal_(-torch.inf)
    partner = torch.cat([torch.arange(b, 2 * b), torch.arange(b)]).to(views.device)
    return F.cross_entropy(likeness, partner)


def node_contrast(
    one_Nd: torch.Tensor,
    two_Nd: torch.Tensor,
    user_B: torch.Tensor,
    item_B: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """Contrast of two views of the graph over the distinct users and, apart from them, the distinct items of a batch."""
    total = torch.zeros((), device=one_Nd.device)
    for nodes in (user_B.unique(), item_B.unique()):
        total = total + info_nce(one_Nd[nodes], two_Nd[nodes], two_Nd[nodes], temperature)
    return total
