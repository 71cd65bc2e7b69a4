"""AutoInt: Song et al., CIKM 2019.

"AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural Networks".

In each layer every field attends to all fields in several heads, with a residual projection and
ReLU (eq. 5-8). y is linear in the fields after the last layer (eq. 9) and, as in the paper's
AutoInt+, in an MLP.

Deviations: see `features.FieldRater`. Attention is scaled by the root of the head size. `hidden =
()` gives plain AutoInt.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import nn

from raypipe.backbones import contract, features


class Options(features.Options):
    """Hyper-parameters of AutoInt; defaults by search (docs/backbones.md)."""

    embedding_size: int = Field(32, ge=1)
    learning_rate: float = Field(1.85e-3, gt=0)
    reg: float = Field(4.1e-4, ge=0, description="L2 penalty on the embeddings of the batch")
    ridge: float = Field(
        3.0,
        ge=0,
        description="L2 pull to zero, as strong as this many ratings; stronger for rare ids",
    )
    dropout: float = Field(0.15, ge=0, lt=1)
    layers: int = Field(2, ge=1, description="attention layers")
    heads: int = Field(2, ge=1, description="attention heads of a layer")
    attention_size: int = Field(16, ge=1, description="width of a layer's output over all heads")
    hidden: tuple[int, ...] = Field((64, 32), description="sizes of the hidden layers")

    @model_validator(mode="after")
    def _whole_heads(self) -> Options:
        if self.attention_size % self.heads:
            raise ValueError(
                f"attention_size {self.attention_size} cannot be divided by {self.heads} heads"
            )
        return self


class Attention(nn.Module):
    """One interacting layer [width, F, B] -> [size, F, B].

    The batch is the last axis: F is small, so products over long rows are faster than many tiny
    matrix products.
    """

    def __init__(self, width: int, size: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.project = nn.Linear(width, 4 * size, bias=False)  # query, key, value, residual

    def forward(self, x_wFB: torch.Tensor) -> torch.Tensor:
        _, f, b = x_wFB.shape
        projected = (self.project.weight @ x_wFB.flatten(1)).view(4, self.heads, -1, f, b)
        q_HdFB, k_HdFB, v_HdFB, residual_HdFB = projected.unbind()
        share_HFFB = (
            (q_HdFB[:, :, :, None] * k_HdFB[:, :, None])
            .sum(1)
            .mul((self.size // self.heads) ** -0.5)
            .softmax(2)
        )
        attended_HdFB = (share_HFFB[:, None] * v_HdFB[:, :, None]).sum(3)
        return F.relu(attended_HdFB + residual_HdFB).view(self.size, f, b)


class Model(features.FieldRater):
    """Self-attention over the fields and MLP side by side."""

    options: Options

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        widths = [options.embedding_size] + [options.attention_size] * options.layers
        self.attention = nn.Sequential(
            *(Attention(w, options.attention_size, options.heads) for w in widths[:-1])
        )
        self.attended = nn.Linear(self.fields.count * options.attention_size, 1)
        width = self.fields.count * options.embedding_size
        self.deep = features.mlp(width, options.hidden, options.dropout)
        self.out = nn.Linear(options.hidden[-1], 1) if options.hidden else None

    def interaction(self, v_BFd: torch.Tensor) -> torch.Tensor:
        attended_sFB = self.attention(v_BFd.permute(2, 1, 0).contiguous())
        y = self.attended(attended_sFB.permute(2, 1, 0).flatten(1)).squeeze(-1)
        return y if self.out is None else y + self.out(self.deep(v_BFd.flatten(1))).squeeze(-1)
