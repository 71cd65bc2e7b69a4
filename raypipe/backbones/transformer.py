"""Causal transformer blocks for sequential backbones. B = batch, T = length, d = width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Pre-norm self-attention and point-wise feed-forward, as in SASRec (layer norm before each part, residual after)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=1e-8), nn.LayerNorm(width, eps=1e-8)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x_BTd: torch.Tensor, mask_BTT: torch.Tensor) -> torch.Tensor:
        """[B, T, d]; mask_BTT is True where row may look at column."""
        b, t, d = x_BTd.shape
        q, k, v = self.qkv(self.norm_1(x_BTd)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        rate = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_BTT[:, None], dropout_p=rate)
        x_BTd = x_BTd + F.dropout(self.out(seen.transpose(1, 2).reshape(b, t, d)), self.dropout, self.training)
        hidden = F.dropout(F.relu(self.up(self.norm_2(x_BTd))), self.dropout, self.training)
        return x_BTd + F.dropout(self.down(hidden), self.dropout, self.training)


def causal_mask(known_BT: torch.Tensor) -> torch.Tensor:
    """[B, T, T] True where a position may be seen: not padding and not later; each position sees at least itself."""
    t = known_BT.shape[1]
    causal = torch.ones(t, t, dtype=torch.bool).tril()
    return (causal & known_BT[:, None, :]) | torch.eye(t, dtype=torch.bool)
