"""Adam for backbones: dense, or lazy for large tables, which updates only the rows of the batch.

A dense step reads and writes the whole table and both its moments, so its cost grows with the
table instead of the batch. torch's SparseAdam updates the rows that the batch looked up, and
leaves the moments of the others unchanged.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

#: lazy updates need at least this many table rows per looked-up row; below, dense steps are cheaper
LAZY_FROM = 4


def lazy_update_pays(rows: int, looked_up: int) -> bool:
    """Whether lazy updates are cheaper for `rows` rows, of which a batch looks up `looked_up`."""
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
        """Both moments and the step count of every weight, as "PART.WEIGHT.NAME"."""
        return {
            f"{n}.{index}.{key}": torch.as_tensor(value)
            for n, part in enumerate(self.parts)
            for index, moments in part.state_dict()["state"].items()
            for key, value in moments.items()
        }

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Restore the state that `tensors` returned."""
        for n, part in enumerate(self.parts):
            state: dict[int, dict[str, torch.Tensor | int]] = {}
            for name, tensor in tensors.items():
                number, index, key = name.split(".", 2)
                if int(number) == n:
                    # SparseAdam needs its step count as an int; with a tensor it would round
                    count = key == "step" and isinstance(part, torch.optim.SparseAdam)
                    state.setdefault(int(index), {})[key] = int(tensor) if count else tensor
            part.load_state_dict(
                {"state": state, "param_groups": part.state_dict()["param_groups"]}
            )


def average(model: nn.Module, rank: int, world: int, add: Callable[[torch.Tensor], None]) -> None:
    """Average every gradient over the workers; `add` sums a tensor over them, in place.

    Dense gradients are exchanged in one tensor. For a sparse one, each worker fills its own slice
    of the exchanged rows, so the traffic grows with the batch instead of the table.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    sparse = [p for p in weights if p.grad is not None and p.grad.is_sparse]
    dense = [p for p in weights if p.grad is None or not p.grad.is_sparse]
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
