"""Processes that stay between stages, on a real Ray."""

import os
import signal
import time

import pandas as pd
import psutil
import pytest

from raypipe.cluster import resident
from raypipe.cluster.resident import Work

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]


class Adder:
    """Adds a number, and says which process did it."""

    def __init__(self, number):
        self.number = number

    def __call__(self, batch):
        return batch.assign(sum=batch["value"] + self.number, process=os.getpid())


class SlowAdder(Adder):
    """Works on several batches at a time."""

    async def __call__(self, batch):
        import asyncio

        started = time.time()
        await asyncio.sleep(1)
        return super().__call__(batch).assign(started=started, ended=time.time())


@pytest.fixture(autouse=True)
def none_kept():
    yield
    resident.end_all()


def mapped(work, rows=40, **options):
    import ray.data

    frame = pd.DataFrame({"value": range(rows)})
    dataset = ray.data.from_pandas([frame[: rows // 2], frame[rows // 2 :]])
    answer = resident.map_batches(dataset, work, "pandas", 5, **options).to_pandas()
    return answer.sort_values("value", ignore_index=True)


def processes(answer):
    return set(answer["process"])


def test_the_next_stage_finds_the_process_of_the_last_one():
    work = Work(Adder, (1,), 1, takes_others=True)
    first, second = mapped(work), mapped(work)
    assert first["sum"].tolist() == second["sum"].tolist() == list(range(1, 41))
    other = mapped(Work(Adder, (100,), 1, takes_others=True))
    assert other["sum"].tolist() == list(range(100, 140)), "the same process, another model"
    assert processes(first) == processes(second) == processes(other) and len(processes(first)) == 1
    alone = mapped(Work(Adder, (1,), 1))
    assert alone["sum"].tolist() == first["sum"].tolist()
    assert processes(alone) != processes(first), "this work wants a process for each model"


def test_a_killed_process_is_replaced_and_no_batch_is_lost():
    work = Work(Adder, (1,), 1)
    (victim,) = processes(mapped(work))
    os.kill(int(victim), signal.SIGKILL)
    answer = mapped(work)
    assert answer["sum"].tolist() == list(range(1, 41)) and victim not in processes(answer)


def test_a_process_works_on_several_batches_at_a_time():
    answer = mapped(Work(SlowAdder, (1,), 1, concurrent=2))
    spans = answer.groupby("started")["ended"].first()
    assert any(start < end for start, end in zip(spans.index[1:], spans[:-1], strict=True))
    assert answer["sum"].tolist() == list(range(1, 41))


def test_processes_that_wait_too_long_end(monkeypatch):
    monkeypatch.setattr(resident, "IDLE", 1.0)
    (process,) = processes(mapped(Work(Adder, (1,), 1)))
    psutil.wait_procs([psutil.Process(int(process))], timeout=20)
    assert not psutil.pid_exists(int(process)) and not resident._kept


def test_large_models_and_clusters_get_actors_of_ray_data(monkeypatch):
    for stays, may in ((False, True), (True, False)):
        monkeypatch.setattr(resident, "may_stay", lambda may=may: may)
        answer = mapped(Work(Adder, (1,), 1, variables={"OMP_NUM_THREADS": "1"}), stays=stays)
        assert answer["sum"].tolist() == list(range(1, 41)) and not resident._kept
