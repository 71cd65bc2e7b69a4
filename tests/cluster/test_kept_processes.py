"""Which processes stay between stages, and for how long, without Ray.

tests/cluster/test_resident.py has real processes.
"""

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from raypipe.cluster import resident
from raypipe.cluster.resident import Work


class Adder:
    def __init__(self, number):
        self.number = number

    def __call__(self, batch):
        return batch + self.number


class Waiter(Adder):
    """Answers in a coroutine, when it is let."""

    async def __call__(self, batch):
        await batch.wait()
        return self.number


WORK = Work(Adder, (1,), 1)


def test_processes_do_another_work_only_if_it_is_alike():
    assert WORK.same_processes(WORK)
    assert not replace(WORK, arguments=(2,)).same_processes(WORK), "it has another model"
    assert replace(WORK, arguments=(2,), takes_others=True).same_processes(WORK)
    for change in ({"number": 2}, {"concurrent": 2}, {"variables": {"A": "1"}}, {"cls": Waiter}):
        assert not replace(WORK, takes_others=True, **change).same_processes(WORK)


def test_a_process_keeps_its_instance_until_it_needs_another():
    instances = []

    class Counted(Adder):
        def __init__(self, number):
            instances.append(number)
            super().__init__(number)

    async def answers():
        process = resident._Process(Counted)
        return [await process.map((number,), 10) for number in (1, 1, 2)]

    assert asyncio.run(answers()) == [11, 11, 12] and instances == [1, 2]


def test_a_process_is_not_idle_while_it_works(monkeypatch):
    async def idle_times():
        process, may_end = resident._Process(Waiter), asyncio.Event()
        work = asyncio.ensure_future(process.map((7,), may_end))
        await asyncio.sleep(0.02)
        during = await process.idle_seconds()
        may_end.set()
        assert await work == 7
        await asyncio.sleep(0.02)
        return during, await process.idle_seconds()

    during, after = asyncio.run(idle_times())
    assert during == 0 and after >= 0.02


@pytest.fixture
def kept(monkeypatch):
    """All processes that were kept at some time, in order."""
    everything = []

    class Kept:
        """Stand-ins for the processes of a work; `idle` says that they have nothing to do."""

        def __init__(self, work):
            self.work, self.used = work, time.monotonic()
            self.ended = self.idle = False
            self.processes = [SimpleNamespace(map=SimpleNamespace(remote=self.answer))]
            everything.append(self)

        def answer(self, arguments, batch):
            return self.work.cls(*arguments)(batch)

        def is_idle(self):
            return self.idle

        def end(self):
            self.ended = True

    monkeypatch.setattr(resident, "_Kept", Kept)
    monkeypatch.setattr(resident, "_kept", [])
    monkeypatch.setattr(resident.ray, "get", lambda answer: answer)
    node = {"Alive": True}
    monkeypatch.setattr(resident.ray, "nodes", lambda: [node, {"Alive": False}])
    monkeypatch.setattr(resident.session, "gpus", lambda: 0)
    return everything


class Rows:
    """A Ray Dataset without Ray: it maps its only batch, and keeps how it was to be mapped."""

    def map_batches(self, function, **options):
        self.options = options
        self.answer = function(10) if "fn_constructor_args" not in options else None
        return self


def test_the_next_stage_with_this_work_finds_its_processes(kept):
    other = replace(WORK, arguments=(2,), takes_others=True)
    answers = [resident.map_batches(Rows(), work, "numpy", 5).answer for work in (WORK, other)]
    assert answers == [11, 12] and len(kept) == 1
    resident.end_all()
    assert kept[0].ended and not resident._kept


def test_an_engine_ends_for_the_next_one_and_the_oldest_for_another_sort(kept):
    class Encoder(Adder):
        pass

    class Judge(Adder):
        pass

    for work in (WORK, replace(WORK, arguments=(2,))):
        resident.map_batches(Rows(), work, "numpy", 5)
    assert [processes.ended for processes in kept] == [True, False]
    for cls in (Encoder, Judge):
        resident.map_batches(Rows(), replace(WORK, cls=cls), "numpy", 5)
    assert [processes.ended for processes in kept] == [True, True, False, False]


@pytest.mark.parametrize("gpus,nodes,stays", [(1, 1, True), (0, 2, True), (0, 1, False)])
def test_processes_of_one_stage_where_others_need_their_place(
    gpus, nodes, stays, kept, monkeypatch
):
    monkeypatch.setattr(resident.session, "gpus", lambda: gpus)
    monkeypatch.setattr(resident.ray, "nodes", lambda: [{"Alive": True}] * nodes)
    work = Work(Adder, (1,), 3, concurrent=4, gpus=gpus)
    options = resident.map_batches(Rows(), work, "numpy", 5, stays).options
    assert not kept and options["compute"].max_size == options["compute"].min_size == 3
    assert options["fn_constructor_args"] == (1,)
    assert options.get("num_gpus") == (1 if gpus else None)


def test_processes_end_when_they_have_waited_long_enough(kept, monkeypatch):
    monkeypatch.setattr(resident, "IDLE", 0.06)
    resident.map_batches(Rows(), WORK, "numpy", 5)
    time.sleep(0.1)
    assert not kept[0].ended, "it has work"
    kept[0].idle = True
    until = time.monotonic() + 20
    while not kept[0].ended and time.monotonic() < until:
        time.sleep(0.01)
    assert kept[0].ended and not resident._kept
