"""Dropout with a cheap mask on a CPU, where drawing a float per number is slow."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

STEPS = 256


def dropout(x: torch.Tensor, rate: float, training: bool) -> torch.Tensor:
    """Zero each number with probability `rate` and scale the rest to keep the mean, as F.dropout.

    On a CPU each random 64-bit number decides on eight places, and the rate is rounded to a
    multiple of 1/256.
    """
    if not training or rate == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, rate, True)
    drop = min(STEPS - 1, max(1, round(rate * STEPS)))
    draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    keep = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= drop
    return x * keep.to(x.dtype).mul_(STEPS / (STEPS - drop))


class Dropout(nn.Module):
    """`dropout` as a layer."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return dropout(x, self.rate, self.training)
