"""Adam for backbones: dense, and for large tables in the rows of the batch alone.

A dense step reads and writes the whole table and both its moments, so that on large data its cost is that of the table, not
that of the batch. torch's SparseAdam changes the rows that the batch touched, and leaves the moments of the others as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

#: a table is lazy from so many rows for each row that a batch looks up; below, the dense step is the cheaper one
LAZY_FROM = 4


def pays(rows: int, looked_up: int) -> bool:
    """Whether a table of `rows` rows, of which a batch looks up at most so many, is to be updated lazily."""
    return rows >= LAZY_FROM * looked_up


class Adam:
    """Adam over all weights of a model; `lazy` names the tables whose gradients are sparse."""

    def __init__(self, model: nn.Module, lazy: tuple[str, ...], learning_rate: float) -> None:
        named = dict(model.named_parameters())
        dense = [p for name, p in named.items() if name not in lazy]
        self.parts: list[torch.optim.Optimizer] = []
        if dense:
            self.parts.append(torch.optim.Adam(dense, lr=learning_rate, fused=True))
        if lazy:
            self.parts.append(
                torch.optim.SparseAdam([named[name] for name in lazy], lr=learning_rate)
            )

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Both moments and the count of steps of every weight, as "PART.WEIGHT.NAME"."""
        return {
            f"{n}.{index}.{key}": torch.as_tensor(value)
            for n, part in enumerate(self.parts)
            for index, moments in part.state_dict()["state"].items()
            for key, value in moments.items()
        }

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take what `tensors` gave."""
        for n, part in enumerate(self.parts):
            state: dict[int, dict[str, torch.Tensor | int]] = {}
            for name, tensor in tensors.items():
                at, index, key = name.split(".", 2)
                if (
                    int(at) == n
                ):  # SparseAdam counts its steps with a plain int, and rounds otherwise with a tensor
                    count = key == "step" and isinstance(part, torch.optim.SparseAdam)
                    state.setdefault(int(index), {})[key] = int(tensor) if count else tensor
            part.load_state_dict(
                {"state": state, "param_groups": part.state_dict()["param_groups"]}
            )


def average(model: nn.Module, rank: int, world: int, add: Callable[[torch.Tensor], None]) -> None:
    """Make every gradient the mean over the workers; `add` sums a tensor over them, in place.

    Dense gradients travel in one exchange. Of a sparse one each worker puts its rows in a place of its own, so that what travels
    grows with the batch, not with the table.
    """
    owners = [p for p in model.parameters() if p.requires_grad]
    sparse = [p for p in owners if p.grad is not None and p.grad.is_sparse]
    dense = [p for p in owners if p.grad is None or not p.grad.is_sparse]
    if dense:
        flat = torch.cat(
            [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in dense]
        )
        add(flat)
        for p, part in zip(dense, (flat / world).split([p.numel() for p in dense]), strict=True):
            p.grad = part.view_as(p)
    for p in sparse:
        assert p.grad is not None
        index, value = p.grad._indices(), p.grad._values()
        counts = torch.zeros(world, dtype=torch.int64, device=p.device)
        counts[rank] = index.shape[1]
        add(counts)
        end = int(counts[: rank + 1].sum())
        indices = torch.zeros(1, int(counts.sum()), dtype=torch.int64, device=p.device)
        values = torch.zeros(indices.shape[1], *value.shape[1:], dtype=value.dtype, device=p.device)
        indices[:, end - index.shape[1] : end], values[end - index.shape[1] : end] = index, value
        add(indices)
        add(values)
        p.grad = torch.sparse_coo_tensor(indices, values / world, p.shape)
