"""Ray Train workers that perform one training after the other.

A start of Ray Train costs ten to twenty seconds of processes and imports, more than a small
training itself. So a group of workers stays for the next training, where it takes nothing from
others: on a single machine without GPUs its workers reserve no CPU while they wait. Elsewhere, a
group ends with its training.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ray
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import TorchConfig, TorchTrainer

from raypipe.cluster import session

#: seconds without a training after which a group ends
IDLE = 90.0
#: how often a training is tried again after the loss of a worker
RETRIES = 2
#: the resource that the head node alone has
HEAD = "node:__internal_head__"


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


class Desk:
    """An actor that hands trainings to the workers of a group, one at a time.

    All workers get the same trainings in the same order. If one is lost, all start again, and get
    the training that was not finished.

    Args:
        workers: how many the group has.
        idle: seconds without a training after which the group ends.
    """

    def __init__(self, workers: int, idle: float) -> None:
        self._workers, self._idle = workers, idle
        self._number = 0
        self._body: list[Any] | None = None
        self._finished: set[int] = set()
        self._start, self._failures = "", list[str]()
        self._is_closed = False
        self._changed = asyncio.Event()

    async def post(self, body: list[Any]) -> int | None:
        """Hand out a training; returns its number, or None if the group has ended."""
        if self._is_closed:
            return None
        self._number, self._body = self._number + 1, body
        self._finished, self._failures = set(), []
        self._notify()
        return self._number

    async def next(self, last: int) -> tuple[int, list[Any]] | None:
        """The training after number `last`, once there is one; None when the group ends."""
        while self._body is None or self._number <= last:
            if self._is_closed:
                return None
            try:
                await asyncio.wait_for(self._changed.wait(), self._idle)
            except TimeoutError:
                if self._body is None:  # else other workers still train
                    await self.close()
        return self._number, self._body

    async def finish(self, start: str, rank: int) -> None:
        """A worker has done its part of the training.

        Args:
            start: differs for each start of the group.
        """
        if start != self._start:
            self._start, self._finished = start, set()
        self._finished.add(rank)
        if len(self._finished) == self._workers:
            self._body = None
            self._notify()

    async def fail(self, reasons: list[str]) -> None:
        """Workers were lost; after too many losses the training ends."""
        if self._body is None:
            return
        self._failures += reasons[:1]
        if len(self._failures) > RETRIES:
            self._body = None
            self._notify()

    async def outcome(self) -> str | None:
        """Wait for the end of the training; returns why it failed, or None."""
        while self._body is not None:
            await self._changed.wait()
        return self._failures[-1] if len(self._failures) > RETRIES else None

    async def close(self) -> None:
        """Let the workers end."""
        self._is_closed = True
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class _Failures(UserCallback):
    """Shows why workers start again, and counts it; Ray Train itself is silent."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        reasons = []
        for rank, error in sorted(worker_exceptions.items()):
            lines = str(error).strip().splitlines() or [""]
            session.post(f"    worker {rank} failed: {type(error).__name__}: {lines[-1]}")
            reasons.append(f"{type(error).__name__}: {error}")
        ray.get(self._desk.fail.remote(reasons or ["a worker was lost"]))


def _perform_in_turn(settings: dict[str, Any]) -> None:
    """What each worker of a group does until the group ends."""
    desk, number = settings["desk"], 0
    rank = ray.train.get_context().get_world_rank()
    start = broadcast_from_rank_zero(uuid.uuid4().hex)
    while (task := ray.get(desk.next.remote(number))) is not None:
        number, (reference,) = task
        torch.set_num_threads(settings["threads"])
        ray.get(reference)()
        gc.collect()  # the next training needs the memory
        ray.get(desk.finish.remote(start, rank))


class WorkerGroup:
    """A start of Ray Train whose workers perform trainings in turn.

    Args:
        workers: the workers.
        storage: folder or URI in which Ray Train may write.
        stays: the group waits for further trainings, and reserves no CPU.
    """

    def __init__(self, workers: Workers, storage: str, stays: bool) -> None:
        self.workers, self.storage, self.stays = workers, storage, stays
        self.is_busy = False
        self._desk: Any = ray.remote(num_cpus=0)(Desk).remote(workers.number, IDLE)
        self._trainer = self._make_trainer()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fit, daemon=True)
        self._thread.start()

    def _make_trainer(self) -> TorchTrainer:
        workers = self.workers
        resources: dict[str, float] = {"CPU": workers.cpus}
        if self.stays:
            resources = {HEAD: 0.001}
        elif workers.gpu:
            resources["GPU"] = 1
        return TorchTrainer(
            _perform_in_turn,
            train_loop_config={"desk": self._desk, "threads": int(workers.cpus)},
            torch_config=TorchConfig(backend="nccl" if workers.gpu else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=workers.number,
                use_gpu=workers.gpu,
                resources_per_worker=resources,
            ),
            run_config=RunConfig(
                name="workers",
                storage_path=self.storage,
                failure_config=FailureConfig(max_failures=-1),  # the desk counts them
                callbacks=[_Failures(self._desk)],  # type: ignore[list-item]
                worker_runtime_env={"env_vars": _environment(workers)},  # type: ignore[call-arg]
            ),
        )

    def _fit(self) -> None:
        try:
            self._error = self._trainer.fit().error
        except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
            self._error = error

    def perform(self, body: Callable[[], None]) -> bool:
        """Run `body()` on each worker; returns False if the group has ended.

        If a worker is lost, all start again and call `body` again, RETRIES times at most.

        Raises:
            RuntimeError: the training failed each time.
        """
        if not self._thread.is_alive() or ray.get(self._desk.post.remote([ray.put(body)])) is None:
            return False
        self.is_busy = True
        outcome = self._desk.outcome.remote()
        while not ray.wait([outcome], timeout=1)[0]:
            if not self._thread.is_alive():
                raise self._error or RuntimeError("Ray Train ended before the training")
        failure = ray.get(outcome)
        self.is_busy = False
        if failure is not None:
            raise RuntimeError(f"a training failed {RETRIES + 1} times, at last with {failure}")
        return True

    def close(self) -> None:
        """End the workers, unless they train: then they end with the driver."""
        if not self.is_busy:
            ray.get(self._desk.close.remote())
            self._thread.join(timeout=30)


def _environment(workers: Workers) -> Mapping[str, str]:
    """Environment variables of the worker processes."""
    scripts = str(Path(sys.executable).parent)
    variables = {
        **session.thread_variables(workers.cpus),
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")]),
    }
    return variables if workers.gpu else {**variables, "DS_ACCELERATOR": "cpu"}
