"""Stages, keys, caching, and what an interrupted run leaves."""

import dataclasses
import json
import time
from pathlib import Path

import pytest

from raypipe.errors import ArtifactError, ConfigError
from raypipe.papers.llama4rec import rendering
from raypipe.pipeline import remaining, runner
from raypipe.pipeline.runner import Runner, perform_missing
from raypipe.pipeline.stage import Stage
from raypipe.pipeline.store import Store
from raypipe.reports import environment


class Body:
    """Writes a number after some seconds; counts its calls."""

    def __init__(self, fail=False, seconds=0.0):
        self.calls, self.fail, self.seconds = 0, fail, seconds

    def __call__(self, ctx):
        self.calls += 1
        time.sleep(self.seconds)
        before = int((ctx.input("a") / "n").read_text()) if "a" in ctx.inputs else 0
        (ctx.out / "n").write_text(str(before + 1))
        if self.fail:
            raise RuntimeError("cut off")
        return {"rows": 1}


def chain(first, second, config=None):
    return [Stage("s/one", first, config=config), Stage("s/two", second, {"a": "s/one"})]


def run(stages, folder, **how):
    return Runner(stages, Store(str(folder)), say=lambda line: None).run(**how)


def test_done_stages_are_skipped(tmp_path):
    first, second = Body(), Body()
    assert [d.cached for d in run(chain(first, second), tmp_path)] == [False, False]
    assert [d.cached for d in run(chain(first, second), tmp_path)] == [True, True]
    assert (first.calls, second.calls) == (1, 1)


def test_a_changed_setting_runs_what_depends_on_it(tmp_path):
    first, second = Body(), Body()
    run(chain(first, second, config=1), tmp_path)
    run(chain(first, second, config=2), tmp_path)
    assert (first.calls, second.calls) == (2, 2)
    run(chain(first, second, config=1), tmp_path)
    assert (first.calls, second.calls) == (2, 2), "the old artifacts are still there"


def test_a_failed_stage_leaves_nothing_visible(tmp_path):
    first, second = Body(), Body(fail=True)
    with pytest.raises(RuntimeError):
        run(chain(first, second), tmp_path)
    store = Store(str(tmp_path))
    runner = Runner(chain(first, second), store)
    assert [p.cached for p in runner.plan()] == [True, False]
    with pytest.raises(ArtifactError, match="s/two"):
        store.local("s/two", runner.keys["s/two"])
    second.fail = False
    assert [d.cached for d in run(chain(first, second), tmp_path)] == [True, False]


def test_from_runs_a_stage_and_its_followers_again(tmp_path):
    first, second = Body(), Body()
    run(chain(first, second), tmp_path)
    run(chain(first, second), tmp_path, start="two")
    assert (first.calls, second.calls) == (1, 2)
    run(chain(first, second), tmp_path, start="s/one")
    assert (first.calls, second.calls) == (2, 3)


def test_only_runs_one_stage(tmp_path):
    first, second = Body(), Body()
    with pytest.raises(ArtifactError):
        run(chain(first, second), tmp_path, only="two")
    run(chain(first, second), tmp_path)
    run(chain(first, second), tmp_path, only="two")
    assert (first.calls, second.calls) == (1, 3)
    with pytest.raises(ConfigError, match="no stage 'three'"):
        run(chain(first, second), tmp_path, only="three")


def test_the_code_version_is_part_of_the_key():
    keys = {Stage("s", body).key({}) for body in (Body(), runner.perform, rendering.render)}
    assert len(keys) == 3, "the bodies lie in different modules"


def test_artifacts_are_shared_over_an_object_store(tmp_path, monkeypatch):
    store = Store(f"file://{tmp_path}")
    monkeypatch.setattr(store, "is_local", False)  # as for s3://, with a local file system
    with store.writing("s", "k" * 64, {"facts": {}}) as out:
        (out / "deep").mkdir()
        (out / "deep" / "file").write_text("here")
    assert store.manifest("s", "k" * 64)["files"] == {"deep/file": 4}
    assert (store.local("s", "k" * 64) / "deep" / "file").read_text() == "here"


def test_an_unwritable_output_is_refused_at_the_start():
    with pytest.raises(ConfigError, match="cannot be written"):
        Store("/proc/raypipe").check_writable()


def test_trainings_that_are_ready_run_side_by_side(tmp_path):
    groups, lines = [], []

    def train(jobs, total):
        groups.append(([stage.name for _, stage, _, _ in jobs], total))
        for job in jobs:
            perform_missing(*job)

    bodies = {name: Body() for name in ("data", "base/a", "answers", "again/b", "late/b")}
    bodies["base/b"] = Body(
        seconds=0.5
    )  # late/b is a similar stage, so it is expected to take longest
    late = Body(fail=True)
    stages = [
        Stage("data", bodies["data"]),
        Stage("base/a", bodies["base/a"], {"a": "data"}, place="trainer"),
        Stage("answers", bodies["answers"], {"a": "data"}),
        Stage("late/a", late, {"a": "answers"}, place="trainer"),
        Stage("base/b", bodies["base/b"], {"a": "data"}, place="trainer"),
        Stage("again/b", bodies["again/b"], {"a": "base/b"}, place="trainer"),
        Stage("late/b", bodies["late/b"], {"a": "answers"}, place="trainer"),
    ]
    runner = Runner(stages, Store(str(tmp_path)), train=train, say=lines.append)
    with pytest.raises(RuntimeError, match="cut off"):
        runner.run()
    assert groups == [(["base/a", "base/b", "again/b"], 5), (["late/b", "late/a"], 5)]
    assert lines.count("[ 5/7] base/b ...") == 1
    late.fail = False
    record = Runner(stages, Store(str(tmp_path)), train=train, say=lines.append).run()
    assert (
        groups[2:] == [(["late/a"], 5)]
        and [d.cached for d in record] == [True] * 3 + [False] + [True] * 3
    )
    assert [b.calls for b in bodies.values()] == [1] * 6, "finished trainings of a group are kept"
    Runner(stages, Store(str(tmp_path)), train=train, say=lines.append).run(only="base/a")
    assert groups[3:] == [(["base/a"], 5)] and bodies["base/a"].calls == 2


def test_a_training_runs_after_the_training_that_it_needs(tmp_path):
    groups = []

    def train(jobs, total):
        groups.append([stage.name for _, stage, _, _ in jobs])
        for job in jobs:
            perform_missing(*job)

    stages = [
        Stage("short", Body(), place="trainer"),
        Stage("needed", Body(), place="trainer"),
        Stage("seed1/long", Body(seconds=0.5), {"a": "needed"}, place="trainer"),
    ]
    Runner(stages, Store(str(tmp_path)), train=train, say=lambda line: None).run()
    stages += [
        Stage("other", Body(), place="trainer"),
        Stage("seed2/long", Body(), {"a": "other"}, place="trainer"),
    ]
    Runner(stages, Store(str(tmp_path)), train=train, say=lambda line: None).run()
    assert groups == [["short", "needed", "seed1/long"], ["other", "seed2/long"]]


def test_the_remaining_time_is_estimated_from_similar_stages(tmp_path):
    def fits(ctx):
        return {}

    stages = [
        Stage("seed0/base/a", fits),
        Stage("seed0/base/b", fits),
        Stage("seed1/base/a", fits),
        Stage("seed1/base/c", fits),
    ]
    done = [(stages[0], 100.0), (stages[1], 300.0)]
    assert remaining.remaining(stages[2:3], done) == (100.0, True), (
        "as long as the same stage of another seed"
    )
    assert remaining.remaining(stages[2:], done) == (300.0, True), (
        "plus the mean of all stages with this body"
    )
    assert remaining.remaining(stages[2:], done, overlap=0.5) == (300.0, True), (
        "a stage that runs alone gets no shorter"
    )
    trained = [dataclasses.replace(s, place="trainer") for s in stages[2:]]
    assert remaining.remaining(trained, done, overlap=0.5) == (150.0, True)
    assert remaining.remaining([stages[2], Stage("evaluate", Body())], done) == (100.0, False)
    late = [Stage(f"seed1/augment/{n}", fits) for n in ("c@train", "a@first", "b@first")]
    assert remaining.guesses(late, done) == [200.0, 100.0, 300.0], (
        "the time of the same backbone in another row"
    )
    assert remaining.longest_first(late, done) == [late[2], late[0], late[1]]
    unknown = [Stage("seed0/other/x", Body()), *late[1:]]
    assert (
        remaining.longest_first(unknown, done) == [unknown[0], late[2], late[1]]
        and remaining.longest_first(late, []) == late
    )
    assert remaining.overlap(200.0, 400.0) == 0.5 and remaining.overlap(0.0, 0.0) == 1.0
    assert (
        remaining.describe((59.0, True)) == ""
        and remaining.describe((7500.0, False)) == "at least 2 h 05 min left"
    )

    lines = []
    Runner(stages[:3], Store(str(tmp_path)), say=lines.append).run(only="seed0/base/a")
    manifest = Path(Store(str(tmp_path)).path("seed0/base/a", stages[0].key({}))) / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "seconds": 600.0}))
    Runner(stages[:3], Store(str(tmp_path)), say=lines.append).run()
    assert any(
        line.startswith("[ 2/3] seed0/base/b") and line.endswith("; about 10 min left")
        for line in lines
    )


def test_a_resumed_stage_is_marked_in_the_record(tmp_path):
    body = Body()
    stages = [Stage("whole", body), Stage("killed", body)]
    store = Store(str(tmp_path))
    Path(store.scratch("killed", stages[1].key({}))).mkdir(parents=True)
    for _ in range(2):  # the second finds both done
        record = Runner(stages, store, say=lambda line: None).run()
        assert [(d.name, d.resumed) for d in record] == [("whole", False), ("killed", True)]
    assert [s["resumed"] for s in environment.stages(record)] == [False, True]
