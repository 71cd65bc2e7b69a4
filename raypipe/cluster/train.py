"""Ray Train for everything that is trained: backbones, and LLMs under DeepSpeed.

A training loop is a plain function of a `Session`. Its checkpoints go to the stage's scratch
folder: after the loss of a worker, the driver or the cluster, it continues from the last one.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from pyarrow import fs

from raypipe.cluster import session
from raypipe.cluster.ray_data import resolve
from raypipe.cluster.resident import may_stay
from raypipe.cluster.training_session import FINAL, CheckpointFolder, Session
from raypipe.cluster.worker_group import WorkerGroup, Workers
from raypipe.errors import ConfigError

#: what the names of the folders begin with in which Ray Train writes
STORAGE = "workers-"
#: the groups of workers that wait for the next training
_groups: list[WorkerGroup] = []


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
) -> AbstractContextManager[Path]:
    """Run `loop(session, config)` on Ray Train.

    An interrupted run with the same `scratch` continues from its last checkpoint.

    Args:
        every_seconds: least time between two checkpoints.

    Returns:
        A context with a local folder that holds the result.
    """
    checkpoints = CheckpointFolder(scratch)
    if checkpoints.latest() == FINAL:
        session.post("    continuing from a checkpoint: the training itself was done")
    else:
        on_workers(
            functools.partial(_train, loop, config, scratch, every_seconds), workers, scratch
        )
    return checkpoints.reading(FINAL)


def _train(
    loop: Callable[[Session, dict[str, Any]], None],
    config: dict[str, Any],
    scratch: str,
    every_seconds: float,
) -> None:
    worker = Session(scratch, every_seconds)
    if not worker.is_finished:
        loop(worker, config)


def on_workers(
    body: Callable[[], None], workers: Workers, storage: str, more_may_help: bool = False
) -> None:
    """Run `body()` on each of some Ray Train workers.

    If a worker is lost, all of them start again, twice at most.

    Args:
        storage: folder or URI in which Ray Train may write.
        more_may_help: a waiting group with more workers will do.
    """
    for group in _waiting(workers, more_may_help):
        if group.perform(body):
            return
        _end(group)
    _remove_leftovers(storage)
    group = WorkerGroup(workers, f"{storage}/{STORAGE}{uuid.uuid4().hex[:8]}", may_stay())
    _groups.append(group)
    try:
        group.perform(body)
    finally:
        if not group.stays:
            _end(group)


def _waiting(workers: Workers, more_may_help: bool) -> list[WorkerGroup]:
    """The waiting groups that have such workers."""
    groups = []
    for group in _groups:
        number = group.workers.number
        enough = number >= workers.number if more_may_help else number == workers.number
        if enough and group.workers[1:] == workers[1:]:
            groups.append(group)
    return groups


def _remove_leftovers(storage: str) -> None:
    """Remove what the groups of a killed driver left behind."""
    filesystem, folder = resolve(storage)
    in_use = {group.storage.rpartition("/")[2] for group in _groups}
    for entry in filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True)):
        if entry.base_name.startswith(STORAGE) and entry.base_name not in in_use:
            filesystem.delete_dir(entry.path)


def end_groups() -> None:
    """End all waiting workers."""
    for group in list(_groups):
        _end(group)


def _end(group: WorkerGroup) -> None:
    _groups.remove(group)
    group.close()
    filesystem, folder = resolve(group.storage)
    with suppress(FileNotFoundError):
        filesystem.delete_dir(folder)


session.at_end(end_groups)
