"""What the trainers share: the worker, progress reports, checkpoints and the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

#: gets the figures of a step or a round, e.g. {"step": 3, "steps": 9, "loss": 0.5}
Report = Callable[[dict[str, float]], None]


class Worker(Protocol):
    """This process among those that train, which takes the checkpoints.

    cluster/training_session.py has one.
    """

    rank: int
    world: int
    device: torch.device

    def due(self, step: int) -> bool:
        """Whether a checkpoint is due; all workers call it after every step."""
        ...

    def checkpoint(self, write: Callable[[Path], object]) -> None:
        """Write a checkpoint; every worker writes its part."""
        ...

    def broadcast_folder(self, folder: Path) -> None:
        """Copy worker 0's files of a folder to the same folder of every worker."""
        ...


@dataclass(frozen=True)
class TrainingRun:
    """One training in progress.

    Args:
        worker: this process.
        report: gets the figures of the training.
        resume: the folder of the last checkpoint, if the training was interrupted.
        folder: worker 0 writes the result there.
    """

    worker: Worker
    report: Report
    resume: Path | None
    folder: Path


@contextmanager
def forgotten_deepspeed() -> Iterator[None]:
    """Let transformers forget the DeepSpeed configuration of a training at its end.

    Under ZeRO-3 it would load the models of the next training in this process in parts.
    """
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    try:
        yield
    finally:
        unset_hf_deepspeed_config()
