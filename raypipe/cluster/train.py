"""Ray Train for everything that is trained: backbones on one or more workers, LLMs under DeepSpeed.

A loop is a plain function of a `Session`. Checkpoints go to the stage's scratch place, so a lost worker, driver or cluster
continues from the last one.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import ray.train
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from raypipe.cluster import session
from raypipe.errors import ConfigError

FINAL = "final"


class Session:
    """What a training loop sees of the cluster."""

    def __init__(self, every_seconds: float) -> None:
        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        self._every, self._last = every_seconds, time.monotonic()

    def save(self, write: Callable[[Path], None], step: int = 0) -> None:
        """Write a checkpoint if the last is old enough; worker 0 decides, every worker writes its part."""
        if self.world > 1:
            if step % 5:
                return
            due = torch.tensor([float(time.monotonic() - self._last >= self._every)], device=self.device)
            torch.distributed.broadcast(due, 0)
            if not due.item():
                return
        elif time.monotonic() - self._last < self._every:
            return
        self._report(write)
        self._last = time.monotonic()

    def finish(self, write: Callable[[Path], Any], together: bool = False) -> None:
        """Hand over the result: worker 0's folder becomes what `run` returns, or, `together`, the folders of all workers in one."""

        def hand_over(folder: Path) -> None:
            (folder / FINAL).mkdir()
            if self.rank == 0 or together:
                write(folder / FINAL)

        self._report(hand_over)

    def add(self, tensor: torch.Tensor) -> None:
        """Sum a tensor over all workers, in place."""
        if self.world > 1:
            torch.distributed.all_reduce(tensor)

    @contextmanager
    def resume(self) -> Iterator[Path | None]:
        """The folder of the last checkpoint, or None."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            yield None
            return
        with checkpoint.as_directory() as folder:
            session.post(f"    continuing from a checkpoint ({ray.train.get_context().get_experiment_name()})")
            yield Path(folder)

    def finished(self) -> bool:
        """Hand over what a run that was cut off after its last step had already handed over; True where there is such."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return False
        with checkpoint.as_directory() as folder:
            done = Path(folder) / FINAL
            if not done.is_dir() or not any(done.iterdir()):
                return False
            session.post("    continuing from a checkpoint: the training itself was done")
            self.finish(lambda target: shutil.copytree(done, target, dirs_exist_ok=True))
            return True

    def _report(self, write: Callable[[Path], Any]) -> None:
        with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
            write(Path(folder))
            ray.train.report({}, checkpoint=Checkpoint.from_directory(folder))


class Workers(NamedTuple):
    """Workers of a training run."""

    number: int
    cpus: float
    gpu: bool


def workers(count: int | None, on_cpu: int, setting: str = "llm.tune.workers") -> Workers:
    """One worker per GPU where there are GPUs, else `on_cpu` workers that share the CPUs of the cluster.

    Raises:
        ConfigError: more workers are asked for than the cluster can hold.
    """
    have = session.resources()
    gpus, cpus = int(have.get("GPU", 0)), int(have.get("CPU", 1))
    if count is not None and count > max(gpus, cpus):
        raise ConfigError(
            f"{count} workers do not fit on {cpus} CPUs and {gpus} GPUs",
            setting,
            f"ask for at most {max(gpus, cpus)}",
        )
    if gpus:
        return Workers(min(count or gpus, gpus), 1, True)
    count = min(count or on_cpu, cpus)
    nodes = max(1, len([n for n in ray.nodes() if n["Alive"]]))
    return Workers(count, max(1, cpus // nodes // max(1, -(-count // nodes))), False)


def run(
    loop: Callable[[Session, dict[str, Any]], None],
    config: dict[str, Any],
    scratch: str,
    crew: Workers,
    every_seconds: float = 15.0,
    environment: dict[str, str] | None = None,
) -> Checkpoint:
    """Run `loop(session, config)` on Ray Train; returns the checkpoint whose folder FINAL holds what `finish` wrote.

    A run of the same `scratch` that was cut off continues from its last checkpoint.
    """
    threads = str(int(crew.cpus))

    def body(settings: dict[str, Any]) -> None:
        torch.set_num_threads(int(threads))
        work = Session(every_seconds)
        if not work.finished():
            loop(work, settings)

    # waiting threads must sleep: spinning ones starve a machine whose cores are shared
    variables = {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE", **(environment or {})}
    if not crew.gpu:
        variables["DS_ACCELERATOR"] = "cpu"
    variables["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    parent, _, name = scratch.rpartition("/")
    trainer = TorchTrainer(
        body,
        train_loop_config=config,
        torch_config=TorchConfig(backend="nccl" if crew.gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=crew.number,
            use_gpu=crew.gpu,
            resources_per_worker={"CPU": crew.cpus} | ({"GPU": 1} if crew.gpu else {}),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=parent,
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=2),
            worker_runtime_env={"env_vars": variables},  # type: ignore[call-arg]
        ),
    )
    result = trainer.fit()
    if result.error is not None:
        raise result.error
    assert result.checkpoint is not None
    return result.checkpoint


@contextmanager
def final(checkpoint: Checkpoint) -> Iterator[Path]:
    """The local folder that the loop handed over."""
    with checkpoint.as_directory() as folder:
        yield Path(folder) / FINAL
