"""Many short trainings on the same Ray Train workers, in parallel."""

from __future__ import annotations

import itertools
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import torch
from ray.train.collective import broadcast_from_rank_zero

from raypipe.cluster import session, train


class _Counter:
    """Hands out 0, 1, 2, ... to the workers of a group, each number once."""

    def __init__(self) -> None:
        self._next: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)

    def take(self, group: str) -> int:
        return next(self._next[group])


def run(
    function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], total: int, scratch: str
) -> None:
    """Call `function(*job)` for each job in Ray Train workers: at most one per GPU or CPU.

    All jobs together cost one start of processes. A worker that finishes a job takes the next one,
    so list the longest jobs first: then all workers end at about the same time.

    Args:
        function: gets a job again if a worker is lost, and must notice that it is done.
        total: jobs of the whole run. It decides the threads of each worker, so that the rest of an
            interrupted run rounds in the same way.
    """
    planned = train.workers(min(total, session.capacity()), 1)
    workers = planned._replace(number=min(len(jobs), planned.number))
    counter: Any = ray.remote(num_cpus=0)(_Counter).remote()

    def body(settings: dict[str, Any]) -> None:
        torch.set_num_threads(int(workers.cpus))
        # if one worker is lost, all start again, as a new group that counts from zero
        group = broadcast_from_rank_zero(uuid.uuid4().hex)
        while (number := ray.get(counter.take.remote(group))) < len(jobs):
            function(*jobs[number])

    train.on_workers(body, {}, scratch, workers)
