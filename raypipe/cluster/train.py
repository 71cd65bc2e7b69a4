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

import numpy as np
import ray
import ray.train
import torch
from pyarrow import fs
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
from raypipe.cluster.ray_data import resolve
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
        if self.due(step):
            self.keep(write)

    def due(self, step: int) -> bool:
        """Whether the last checkpoint is old enough; all workers ask after every step."""
        if self.world == 1:
            return time.monotonic() - self._last >= self._every
        if step % 5:
            return False
        old = torch.tensor(
            [float(time.monotonic() - self._last >= self._every)], device=self.device
        )
        torch.distributed.broadcast(old, 0)
        return bool(old.item())

    def keep(self, write: Callable[[Path], Any]) -> None:
        """Write a checkpoint, every worker its part."""
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

    def share(self, folder: Path) -> None:
        """Write what worker 0 has in a folder to the same folder of every worker, on whatever node."""
        if self.world == 1:
            return
        own = sorted(p for p in folder.rglob("*") if p.is_file()) if self.rank == 0 else []
        told: list[Any] = [[(str(p.relative_to(folder)), p.stat().st_size) for p in own]]
        torch.distributed.broadcast_object_list(told, 0, device=self.device)
        for name, size in told[0]:
            held = (
                np.fromfile(folder / name, np.uint8) if self.rank == 0 else np.empty(size, np.uint8)
            )
            data = torch.from_numpy(held).to(self.device)
            torch.distributed.broadcast(data, 0)
            if self.rank:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                data.cpu().numpy().tofile(folder / name)

    @contextmanager
    def resume(self) -> Iterator[Path | None]:
        """The folder of the last checkpoint, or None."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            yield None
            return
        with checkpoint.as_directory() as folder:
            session.post(
                f"    continuing from a checkpoint ({ray.train.get_context().get_experiment_name()})"
            )
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


class Alone:
    """What a training loop sees that no other worker shares: the same as `Session`, with checkpoints of its own."""

    rank, world = 0, 1

    def __init__(self, scratch: str, out: Path, every_seconds: float) -> None:
        self.device = ray.train.torch.get_device()
        self._out, self._every, self._last = out, every_seconds, time.monotonic()
        self._files, self._root = resolve(scratch)

    def save(self, write: Callable[[Path], None], step: int = 0) -> None:
        """Write a checkpoint if the last is old enough; it counts once the file `latest` names it."""
        if time.monotonic() - self._last < self._every:
            return
        before = self._latest()
        number = int(before.rpartition("_")[2]) + 1 if before else 0
        target = f"{self._root}/checkpoint_{number:06d}"
        with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
            write(Path(folder))
            self._files.create_dir(target, recursive=True)
            fs.copy_files(
                folder,
                target,
                source_filesystem=fs.LocalFileSystem(),
                destination_filesystem=self._files,
            )
        with self._files.open_output_stream(f"{self._root}/latest.new") as stream:
            stream.write(target.rpartition("/")[2].encode())
        self._files.move(f"{self._root}/latest.new", f"{self._root}/latest")
        if before:
            self._files.delete_dir(f"{self._root}/{before}")
        self._last = time.monotonic()

    def finish(self, write: Callable[[Path], Any], together: bool = False) -> None:
        """Hand over the result."""
        write(self._out)

    def add(self, tensor: torch.Tensor) -> None:
        """There is nothing to add."""

    @contextmanager
    def resume(self) -> Iterator[Path | None]:
        """The folder of the last checkpoint, or None."""
        latest = self._latest()
        if latest is None:
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
            fs.copy_files(
                f"{self._root}/{latest}",
                folder,
                source_filesystem=self._files,
                destination_filesystem=fs.LocalFileSystem(),
            )
            session.post(f"    continuing from a checkpoint ({self._root.rpartition('/')[2]})")
            yield Path(folder)

    def _latest(self) -> str | None:
        path = f"{self._root}/latest"
        if self._files.get_file_info(path).type != fs.FileType.File:
            return None
        with self._files.open_input_stream(path) as stream:
            return stream.read().decode()


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
    return Workers(count, session.cpus_per_process(count), False)


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

    def body(settings: dict[str, Any]) -> None:
        torch.set_num_threads(int(crew.cpus))
        work = Session(every_seconds)
        if not work.finished():
            loop(work, settings)

    checkpoint = on_workers(body, config, scratch, crew, environment)
    assert checkpoint is not None
    return checkpoint


class _Failures(UserCallback):
    """Shows why workers begin again, which Ray Train does without a word."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for rank, error in sorted(worker_exceptions.items()):
            told = str(error).strip().splitlines() or [""]
            session.post(f"    worker {rank} failed: {type(error).__name__}: {told[-1]}")


def on_workers(
    body: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    scratch: str,
    crew: Workers,
    environment: dict[str, str] | None = None,
) -> Checkpoint | None:
    """Run `body(config)` on each worker, again from its last checkpoint where one fails; the last checkpoint reported."""
    threads = str(int(crew.cpus))
    # waiting threads must sleep: spinning ones starve a machine whose cores are shared
    variables = {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE", **(environment or {})}
    if not crew.gpu:
        variables["DS_ACCELERATOR"] = "cpu"
    variables["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    )
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
            callbacks=[_Failures()],  # type: ignore[list-item]
            worker_runtime_env={"env_vars": variables},  # type: ignore[call-arg]
        ),
    )
    with session.interruptible():
        result = trainer.fit()
    if result.error is not None:
        raise result.error
    return result.checkpoint


@contextmanager
def final(checkpoint: Checkpoint) -> Iterator[Path]:
    """The local folder that the loop handed over."""
    with checkpoint.as_directory() as folder:
        yield Path(folder) / FINAL
