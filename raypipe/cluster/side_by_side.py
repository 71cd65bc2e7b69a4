"""Many short trainings on the same Ray Train workers, side by side."""

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


class _Turns:
    """Hands out 0, 1, 2, ... to the workers of a group, each number once."""

    def __init__(self) -> None:
        self._next: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)

    def take(self, group: str) -> int:
        return next(self._next[group])


def run(
    function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], of: int, scratch: str
) -> None:
    """Call `function(*job)` for each job, in Ray Train workers that share nothing: at most one a GPU, or one a CPU.

    Many short trainings cost one start of processes. A worker that is done with a job takes the next of the list, so that no worker
    waits while jobs are left: with the long jobs first, all end at about the same time.

    Args:
        function: is given a job again if a worker is lost, and must see that it is done.
        of: jobs of the whole run; decides the threads of each, so that what is left of a run that was cut off rounds alike.
    """
    share = train.workers(min(of, session.capacity()), 1)
    crew = share._replace(number=min(len(jobs), share.number))
    turns: Any = ray.remote(num_cpus=0)(_Turns).remote()

    def body(settings: dict[str, Any]) -> None:
        torch.set_num_threads(int(crew.cpus))
        # workers are started again all together when one is lost, and begin a count of their own
        group = broadcast_from_rank_zero(uuid.uuid4().hex)
        while (number := ray.get(turns.take.remote(group))) < len(jobs):
            function(*jobs[number])

    train.on_workers(body, {}, scratch, crew)
