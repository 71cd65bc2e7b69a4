"""Losses as pure functions. B = batch, d = embedding size."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def bpr(positive_B: torch.Tensor, negative_B: torch.Tensor) -> torch.Tensor:
    """Bayesian personalised ranking (Llama4Rec eq. 1): mean of -log sigmoid(y_ui - y_uj); j was not interacted with (LO6)."""
    return -F.logsigmoid(positive_B - negative_B).mean()


def squared_norm(*embeddings_Bd: torch.Tensor) -> torch.Tensor:
    """Half the squared norm of the batch's embeddings, divided by the batch size."""
    return sum((e.pow(2).sum() for e in embeddings_Bd), torch.zeros(())) / (2 * len(embeddings_Bd[0]))
