"""A runner whose stages run on Ray: where the pipeline, which knows no cluster, and the cluster, which knows no stages, meet."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from raypipe.cluster import session, side_by_side
from raypipe.pipeline.runner import Job, Runner, perform, perform_missing
from raypipe.pipeline.stage import Stage
from raypipe.pipeline.store import Store


def runner(stages: Sequence[Stage], store: Store, say: Callable[[str], None]) -> Runner:
    """A runner that performs stages in Ray workers and trains those that are ready side by side."""
    return Runner(stages, store, functools.partial(session.in_worker, perform), _train, say)


def _train(jobs: Sequence[Job], of: int) -> None:
    store, _, key, _ = jobs[0]
    scratch = f"{store.uri}/scratch/trainers-{key[:12]}"
    store.remove(
        scratch
    )  # what a run that was cut off left; the trainings themselves keep their checkpoints elsewhere
    side_by_side.run(perform_missing, jobs, of, scratch)
    store.remove(scratch)
