"""A runner whose stages run on Ray.

The pipeline knows nothing of clusters, and cluster/ nothing of stages: they meet here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from raypipe.cluster import session, side_by_side
from raypipe.pipeline.runner import Job, Runner, perform, perform_missing
from raypipe.pipeline.stage import Stage
from raypipe.pipeline.store import Store


def runner(stages: Sequence[Stage], store: Store, say: Callable[[str], None]) -> Runner:
    """A runner that performs stages in Ray workers, and trains them in parallel."""

    def say_unless_interrupted(line: str) -> None:
        session.raise_if_interrupted()
        say(line)

    perform_in_worker = functools.partial(session.in_worker, perform)
    return Runner(stages, store, perform_in_worker, _train, say_unless_interrupted)


def _train(jobs: Sequence[Job], total: int) -> None:
    store = jobs[0][0]
    number_of = {stage.name: number for number, (_, stage, _, _) in enumerate(jobs)}
    after = []
    for _, stage, _, _ in jobs:
        after.append([number_of[name] for name in stage.inputs.values() if name in number_of])
    side_by_side.run(perform_missing, jobs, after, total, f"{store.uri}/scratch")
