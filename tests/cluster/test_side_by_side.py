"""How jobs are handed out to workers that train side by side."""

from types import SimpleNamespace

from raypipe.cluster import side_by_side
from raypipe.cluster.side_by_side import WAIT, Assignments


def test_a_job_waits_for_those_that_it_needs():
    jobs = Assignments([[], [0], [], [1, 2]])
    assert [jobs.take("a") for _ in range(3)] == [0, 2, WAIT]
    jobs.finish("a", 0)
    assert [jobs.take("a") for _ in range(2)] == [1, WAIT], "3 still waits for two"
    jobs.finish("a", 2)
    assert jobs.take("a") == WAIT
    jobs.finish("a", 1)
    assert [jobs.take("a") for _ in range(2)] == [3, None]


def test_a_group_that_starts_again_gets_every_job_again():
    jobs = Assignments([[], [0]])
    assert jobs.take("first") == 0
    jobs.finish("first", 0)
    assert jobs.take("first") == 1
    assert [jobs.take("second") for _ in range(2)] == [0, WAIT]


def actor_in_this_process(cls):
    """A class as an actor of Ray, without Ray."""

    def start(*arguments):
        instance = cls(*arguments)
        methods = {}
        for name in ("take", "finish"):
            methods[name] = SimpleNamespace(remote=getattr(instance, name))
        return SimpleNamespace(**methods)

    return SimpleNamespace(remote=start)


def test_each_job_is_done_once_and_after_those_that_it_needs(monkeypatch):
    groups = []

    def on_workers(body, workers, storage, more_may_help):
        groups.append((workers, storage, more_may_help))
        body()

    nodes = [{"Alive": True, "Resources": {"CPU": 4.0}}]
    monkeypatch.setattr(side_by_side.ray, "nodes", lambda: nodes)
    monkeypatch.setattr(side_by_side.session, "resources", lambda: {"CPU": 4.0})
    monkeypatch.setattr(side_by_side.ray, "remote", lambda num_cpus: actor_in_this_process)
    monkeypatch.setattr(side_by_side.ray, "get", lambda answer: answer)
    monkeypatch.setattr(side_by_side, "broadcast_from_rank_zero", lambda group: group)
    monkeypatch.setattr(side_by_side.train, "on_workers", on_workers)
    done: list[str] = []
    side_by_side.run(done.append, [("a",), ("b",), ("c",)], [[2], [], [1]], 9, "scratch")
    assert done == ["b", "c", "a"]
    (((number, cpus, gpu), storage, more_may_help),) = groups
    assert (number, gpu, storage, more_may_help) == (3, False, "scratch", True)
    assert cpus == 1, "the threads of a worker follow from all jobs of the run, not from the rest"
    side_by_side.run(done.append, [("d",)], [[]], 9, "scratch")
    assert groups[1][0] == (1, 1, False)
