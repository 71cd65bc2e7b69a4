"""Many short trainings on the same Ray Train workers, in parallel."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Sequence
from typing import Any

import ray
from ray.train.collective import broadcast_from_rank_zero

from raypipe.cluster import session, train

#: what `Assignments.take` says while each job that is left waits for one that is at work
WAIT = -1
#: seconds until a worker without a job asks again
PAUSE = 0.2


class Assignments:
    """Hands out jobs by their numbers, each once to a group of workers.

    Args:
        after: the numbers of the jobs that must be done before each job.
    """

    def __init__(self, after: Sequence[Collection[int]]) -> None:
        self._after = after
        self._left: dict[str, list[int]] = {}
        self._done: dict[str, set[int]] = {}

    def take(self, group: str) -> int | None:
        """The first job that can be done; WAIT where there will be one; None where none is left."""
        left = self._left.setdefault(group, list(range(len(self._after))))
        done = self._done.setdefault(group, set())
        for number in left:
            if done.issuperset(self._after[number]):
                left.remove(number)
                return number
        return WAIT if left else None

    def finish(self, group: str, number: int) -> None:
        """Let the jobs that need this one be taken."""
        self._done[group].add(number)


def run(
    function: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    after: Sequence[Collection[int]],
    total: int,
    storage: str,
) -> None:
    """Call `function(*job)` for each job in Ray Train workers: at most one per GPU or CPU.

    All jobs together cost at most one start of processes. A worker that finishes a job takes the
    next one, so list the longest jobs first: then all workers end at about the same time.

    Args:
        function: gets a job again if a worker is lost, and must notice that it is done.
        after: see `Assignments`.
        total: jobs of the whole run. It decides the threads of each worker, so that the rest of an
            interrupted run rounds in the same way.
        storage: folder or URI in which Ray Train may write.
    """
    planned = train.workers(min(total, session.capacity()), 1)
    workers = planned._replace(number=min(len(jobs), planned.number))
    assignments: Any = ray.remote(num_cpus=0)(Assignments).remote(after)

    def body() -> None:
        # if one worker is lost, all start again, as a new group to which nothing was handed out
        group = broadcast_from_rank_zero(uuid.uuid4().hex)
        while (number := ray.get(assignments.take.remote(group))) is not None:
            if number == WAIT:
                time.sleep(PAUSE)
                continue
            function(*jobs[number])
            ray.get(assignments.finish.remote(group, number))

    train.on_workers(body, workers, storage, more_may_help=True)
