"""Runs in the process of the test: stages, trainings and Ray Data's tasks without Ray.

What raypipe asks of Ray is replaced by the plainest thing that gives the same result. Everything
else is real.
"""

import asyncio
import contextlib
import inspect
import itertools
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.support.processes import free_port


class Blocks:
    """A Ray Dataset whose tasks and actors run here, one block after the other."""

    def __init__(self, tables):
        self.tables = tables

    def repartition(self, blocks):
        return self

    def map_batches(
        self, function, batch_format="numpy", fn_constructor_args=(), fn_kwargs=None, **resources
    ):
        if inspect.isclass(function):
            function = function(*fn_constructor_args)
        results = []
        for table in self.tables:
            result = function(_batch(table, batch_format), **(fn_kwargs or {}))
            results.append(_table(asyncio.run(result) if inspect.iscoroutine(result) else result))
        return Blocks(results)

    def iter_rows(self):
        return itertools.chain.from_iterable(table.to_pylist() for table in self.tables)

    def write_parquet(self, folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for table in self.tables:  # beside the files of other writers
            pq.write_table(table, Path(folder, f"{uuid.uuid4().hex}.parquet"))


def _batch(table, batch_format):
    if batch_format == "pandas":
        return table.to_pandas()
    if batch_format == "pyarrow":
        return table
    return {name: table[name].to_numpy() for name in table.column_names}


def _table(result):
    if isinstance(result, pd.DataFrame):
        return pa.Table.from_pandas(result, preserve_index=False)
    return result if isinstance(result, pa.Table) else pa.table(result)


def read_parquet(path, override_num_blocks=None):
    files = sorted(Path(path).rglob("*.parquet")) if Path(path).is_dir() else [path]
    return Blocks([pq.read_table(file) for file in files])


def number_range(n, override_num_blocks):
    return Blocks(
        [pa.table({"id": part}) for part in np.array_split(np.arange(n), override_num_blocks)]
    )


class OneWorker:
    """What Ray Train tells the only worker of a training."""

    def get_world_rank(self):
        return 0

    def get_world_size(self):
        return 1


def grid(function, space, data, scratch, say=None):
    rows = []
    for values in itertools.product(*space.values()):
        point = dict(zip(space, values, strict=True))
        rows.append({**function(point, data), **point})
    return rows


def search(trial, points, data, scratch, patience, say):
    rows = []
    for point in points:
        lines = []
        trial(point, data, lines.append)
        best = max(line["validation"] for line in lines)
        rows.append({**point, "validation": best, "reports": len(lines)})
    return sorted(rows, key=lambda row: -row["validation"])


def side_by_side(function, jobs, after, total, storage):
    for job in jobs:
        function(*job)


def replace_ray(patch):
    """Replace what raypipe asks of Ray, until `patch` is undone."""
    import ray.data
    import ray.train.torch

    from raypipe.cluster import ray_data, session, tune
    from raypipe.cluster import side_by_side as jobs
    from raypipe.cluster import train as training

    patch.setattr(ray, "nodes", lambda: [])
    patch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    patch.setattr(ray.data, "read_parquet", read_parquet)
    patch.setattr(ray.data, "range", number_range)
    patch.setattr(ray_data, "set_stall_timeout", lambda seconds: None)
    patch.setattr(ray_data, "quiet", lambda: None)
    patch.setattr(ray.train, "get_context", OneWorker)
    patch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))
    patch.setattr(session, "connected", lambda *how: contextlib.nullcontext())
    patch.setattr(session, "in_worker", lambda function, *given, **needs: function(*given))
    patch.setattr(jobs, "run", side_by_side)
    patch.setattr(training, "on_workers", lambda body, workers, storage, **more: body())
    patch.setattr(tune, "grid", grid)
    patch.setattr(tune, "search", search)
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    for name, value in {**variables, "RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1}.items():
        patch.setenv(name, str(value))


@pytest.fixture(scope="module")
def one_process():
    """What raypipe asks of Ray runs in this process."""
    with pytest.MonkeyPatch.context() as patch:
        replace_ray(patch)
        yield
