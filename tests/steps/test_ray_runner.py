"""Stages on Ray: which trainings wait for which."""

from raypipe.cluster import side_by_side
from raypipe.pipeline.stage import Stage
from raypipe.pipeline.store import Store
from raypipe.steps.ray_runner import runner


def fit(ctx):
    return {}


def test_a_training_waits_for_those_of_its_group_that_it_reads(tmp_path, monkeypatch):
    groups = []

    def perform_in_order(function, jobs, after, total, storage):
        names = [stage.name for _, stage, _, _ in jobs]
        groups.append((names, [sorted(needed) for needed in after], total))
        for job in jobs:
            function(*job)

    monkeypatch.setattr(side_by_side, "run", perform_in_order)
    stages = [
        Stage("data", fit, place="driver"),
        Stage("base/a", fit, {"data": "data"}, place="trainer"),
        Stage("base/b", fit, {"data": "data"}, place="trainer"),
        Stage("late/b", fit, {"data": "data", "start": "base/b"}, place="trainer"),
    ]
    record = runner(stages, Store(str(tmp_path)), lambda line: None).run()
    assert groups == [(["base/a", "base/b", "late/b"], [[], [], [1]], 3)]
    assert [done.name for done in record] == [stage.name for stage in stages]
