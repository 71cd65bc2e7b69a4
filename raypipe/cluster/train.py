"""Ray Train for everything that is trained: backbones, and LLMs under DeepSpeed.

A training loop is a plain function of a `Session`. Its checkpoints go to the stage's scratch
folder: after the loss of a worker, the driver or the cluster, it continues from the last one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    UserCallback,
)
from ray.train.torch import TorchConfig, TorchTrainer

from raypipe.cluster import session
from raypipe.cluster.training_session import FINAL, Session
from raypipe.errors import ConfigError


class Workers(NamedTuple):
    """The workers of a training.

    Args:
        number: how many.
        cpus: CPUs of each.
        gpu: each has a GPU.
    """

    number: int
    cpus: float
    gpu: bool


def workers(count: int | None, on_cpu: int, setting: str = "llm.tune.workers") -> Workers:
    """`count` workers; by default one per GPU, or `on_cpu` workers where there is no GPU.

    Raises:
        ConfigError: `count` is more than the cluster can hold; the message names `setting`.
    """
    resources = session.resources()
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    if count is not None and count > max(gpus, cpus):
        raise ConfigError(
            f"{count} workers do not fit on {cpus} CPUs and {gpus} GPUs",
            setting,
            f"ask for at most {max(gpus, cpus)}",
        )
    if gpus:
        return Workers(min(count or gpus, gpus), 1, True)
    count = min(count or on_cpu, cpus)
    return Workers(count, session.cpus_per_process(count), False)


def run(
    loop: Callable[[Session, dict[str, Any]], None],
    config: dict[str, Any],
    scratch: str,
    workers: Workers,
    every_seconds: float = 15.0,
) -> Checkpoint:
    """Run `loop(session, config)` on Ray Train.

    An interrupted run with the same `scratch` continues from its last checkpoint.

    Args:
        every_seconds: least time between two checkpoints.

    Returns:
        The checkpoint whose folder FINAL holds the result; see `final`.
    """

    def body(settings: dict[str, Any]) -> None:
        torch.set_num_threads(int(workers.cpus))
        worker = Session(every_seconds)
        if not worker.resume_finished():
            loop(worker, settings)

    checkpoint = on_workers(body, config, scratch, workers)
    assert checkpoint is not None
    return checkpoint


class _Failures(UserCallback):
    """Shows why workers start again; Ray Train itself is silent."""

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        for rank, error in sorted(worker_exceptions.items()):
            lines = str(error).strip().splitlines() or [""]
            session.post(f"    worker {rank} failed: {type(error).__name__}: {lines[-1]}")


def on_workers(
    body: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    scratch: str,
    workers: Workers,
) -> Checkpoint | None:
    """Run `body(config)` on each worker; returns the last checkpoint that it reported.

    If a worker fails, all of them start again from that checkpoint, twice at most.
    """
    parent, _, name = scratch.rpartition("/")
    gpu: dict[str, float] = {"GPU": 1} if workers.gpu else {}
    trainer = TorchTrainer(
        body,
        train_loop_config=config,
        torch_config=TorchConfig(backend="nccl" if workers.gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers.number,
            use_gpu=workers.gpu,
            resources_per_worker={"CPU": workers.cpus, **gpu},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=parent,
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=2),
            callbacks=[_Failures()],  # type: ignore[list-item]
            worker_runtime_env={"env_vars": _environment(workers)},  # type: ignore[call-arg]
        ),
    )
    with session.interruptible():
        result = trainer.fit()
    if result.error is not None:
        raise result.error
    return result.checkpoint


def _environment(workers: Workers) -> dict[str, str]:
    """Environment variables of the worker processes."""
    scripts = str(Path(sys.executable).parent)
    variables = {
        "OMP_NUM_THREADS": str(int(workers.cpus)),
        # waiting threads must sleep: spinning ones slow down a machine whose cores are shared
        "OMP_WAIT_POLICY": "PASSIVE",
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")]),
    }
    return variables if workers.gpu else {**variables, "DS_ACCELERATOR": "cpu"}


@contextmanager
def final(checkpoint: Checkpoint) -> Iterator[Path]:
    """The local folder of a training's result."""
    with checkpoint.as_directory() as folder:
        yield Path(folder) / FINAL
