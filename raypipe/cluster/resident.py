"""Processes that stay between the stages of a run, with their imports done and their model loaded.

A wave of prompts for a small LLM takes seconds, the start of its engine ten. On a single machine
without GPUs the driver therefore keeps the processes of its last engines: Ray Data's tasks pass
their batches on to them. They reserve no CPU, and end after IDLE seconds without a batch. Elsewhere
Ray Data starts its own actors for each stage, and frees their devices afterwards.
"""

from __future__ import annotations

import gc
import inspect
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray

from raypipe.cluster import session

if TYPE_CHECKING:
    from ray.data import Dataset

#: seconds without a batch after which processes end
IDLE = 90.0
#: processes of so many sorts are kept: an LLM's engine and the encoder of texts
KEPT = 2


@dataclass(frozen=True)
class Work:
    """What the processes of a stage do.

    Args:
        cls: a class whose instances map a batch to a batch, if need be as coroutines.
        arguments: of its constructor.
        number: processes.
        concurrent: batches that one process may work on at a time.
        variables: environment variables of the processes.
        gpus: GPUs of a process.
        takes_others: a process may do the same with other arguments afterwards.
    """

    cls: Callable[..., Any]
    arguments: tuple[Any, ...]
    number: int
    concurrent: int = 1
    variables: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0
    takes_others: bool = False

    def same_processes(self, other: Work) -> bool:
        """Whether processes that did the other work can do this one."""
        shape = (self.cls, self.number, self.concurrent, self.variables)
        if shape != (other.cls, other.number, other.concurrent, other.variables):
            return False
        return self.takes_others or self.arguments == other.arguments


class _Process:
    """An actor with an instance of a class, made at its first batch."""

    def __init__(self, cls: Callable[..., Any]) -> None:
        self._cls = cls
        self._arguments: tuple[Any, ...] | None = None
        self._instance: Any = None
        self._last, self._running = time.monotonic(), 0

    async def map(self, arguments: tuple[Any, ...], batch: Any) -> Any:
        """The answer to a batch by an instance with these arguments."""
        self._running += 1
        try:
            if self._arguments != arguments:
                self._instance = None
                gc.collect()
                self._instance, self._arguments = self._cls(*arguments), arguments
            answer = self._instance(batch)
            return await answer if inspect.isawaitable(answer) else answer
        finally:
            self._running -= 1
            self._last = time.monotonic()

    async def idle_seconds(self) -> float:
        """Seconds since the last batch."""
        return 0.0 if self._running else time.monotonic() - self._last


class _Kept:
    """The processes of a work, and when the driver last used them."""

    def __init__(self, work: Work) -> None:
        self.work, self.used = work, time.monotonic()
        actor = ray.remote(_Process).options(
            num_cpus=0,
            max_concurrency=work.concurrent + 1,
            max_restarts=-1,
            max_task_retries=-1,
            runtime_env={"env_vars": dict(work.variables)},
        )
        self.processes: list[Any] = [actor.remote(work.cls) for _ in range(work.number)]

    def is_idle(self) -> bool:
        """Whether these processes have waited for IDLE seconds."""
        if time.monotonic() - self.used < IDLE:
            return False
        idle = ray.get([process.idle_seconds.remote() for process in self.processes])
        return min(idle) > IDLE

    def end(self) -> None:
        for process in self.processes:
            ray.kill(process)


_kept: list[_Kept] = []
_lock = threading.Lock()


def may_stay() -> bool:
    """Whether waiting processes take nothing from others: one machine without GPUs."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    return len(alive) == 1 and not session.gpus()


def map_batches(
    dataset: Dataset, work: Work, batch_format: str, batch_size: int | None, stays: bool = True
) -> Dataset:
    """The dataset with each batch mapped by some processes.

    Args:
        stays: they are small enough to wait for the next stage beside other work; they do so where
            `may_stay` allows it.
    """
    if stays and may_stay():
        return _by_kept(dataset, work, batch_format, batch_size)
    from ray.data import ActorPoolStrategy

    # half a CPU, so that tasks that feed the processes fit beside one process per CPU
    resources = {"num_gpus": work.gpus} if work.gpus else {"num_cpus": 0.5}
    return dataset.map_batches(
        work.cls,  # type: ignore[arg-type]
        fn_constructor_args=work.arguments,
        batch_format=batch_format,
        batch_size=batch_size,
        compute=ActorPoolStrategy(
            size=work.number,
            max_tasks_in_flight_per_actor=max(2, work.concurrent),
            max_concurrent_calls_per_actor=work.concurrent,
        ),
        runtime_env={"env_vars": dict(work.variables)},
        **resources,
    )


def _by_kept(dataset: Dataset, work: Work, batch_format: str, batch_size: int | None) -> Dataset:
    """The dataset with each batch mapped by processes that stay."""
    from ray.data import TaskPoolStrategy

    with _lock:
        processes = _processes(work)
    arguments = work.arguments

    def pass_on(batch: Any) -> Any:
        return ray.get(random.choice(processes).map.remote(arguments, batch))

    return dataset.map_batches(
        pass_on,
        batch_format=batch_format,
        batch_size=batch_size,
        compute=TaskPoolStrategy(size=work.number * work.concurrent),
        num_cpus=0.01,  # it waits
    )


def _processes(work: Work) -> list[Any]:
    """The kept processes for a work, or new ones instead of the oldest."""
    for kept in _kept:
        if work.same_processes(kept.work):
            kept.work, kept.used = work, time.monotonic()
            return kept.processes
    for kept in [kept for kept in _kept if kept.work.cls is work.cls]:
        _end(kept)  # the machine need not hold two engines
    while len(_kept) >= KEPT:
        _end(_kept[0])
    if not _kept:
        threading.Thread(target=_end_idle, daemon=True).start()
    _kept.append(_Kept(work))
    return _kept[-1].processes


def _end(kept: _Kept) -> None:
    _kept.remove(kept)
    kept.end()


def end_all() -> None:
    """End all kept processes."""
    with _lock:
        for kept in list(_kept):
            _end(kept)


def _end_idle() -> None:
    """End processes that wait too long, until there are none."""
    while True:
        time.sleep(IDLE / 6)
        with _lock:
            for kept in list(_kept):
                if kept.is_idle():
                    _end(kept)
            if not _kept:
                return


session.at_end(end_all)
