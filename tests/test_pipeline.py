"""Stages, keys, caching, and what a cut-off run leaves."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from processes import of_two

from raypipe.cluster import ray_data, session
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


def chain(one, two, config=None):
    return [Stage("s/one", one, config=config), Stage("s/two", two, {"a": "s/one"})]


def run(stages, folder, **how):
    return Runner(stages, Store(str(folder)), say=lambda line: None).run(**how)


def test_done_stages_are_skipped(tmp_path):
    one, two = Body(), Body()
    assert [d.cached for d in run(chain(one, two), tmp_path)] == [False, False]
    assert [d.cached for d in run(chain(one, two), tmp_path)] == [True, True]
    assert (one.calls, two.calls) == (1, 1)


def test_a_changed_setting_runs_what_depends_on_it(tmp_path):
    one, two = Body(), Body()
    run(chain(one, two, config=1), tmp_path)
    run(chain(one, two, config=2), tmp_path)
    assert (one.calls, two.calls) == (2, 2)
    run(chain(one, two, config=1), tmp_path)
    assert (one.calls, two.calls) == (2, 2), "the old artifacts are still there"


def test_a_failed_stage_leaves_nothing_visible(tmp_path):
    one, two = Body(), Body(fail=True)
    with pytest.raises(RuntimeError):
        run(chain(one, two), tmp_path)
    store = Store(str(tmp_path))
    runner = Runner(chain(one, two), store)
    assert [p.cached for p in runner.plan()] == [True, False]
    with pytest.raises(ArtifactError, match="s/two"):
        store.local("s/two", runner.keys["s/two"])
    two.fail = False
    assert [d.cached for d in run(chain(one, two), tmp_path)] == [True, False]


def test_from_runs_a_stage_and_its_followers_again(tmp_path):
    one, two = Body(), Body()
    run(chain(one, two), tmp_path)
    run(chain(one, two), tmp_path, start="two")
    assert (one.calls, two.calls) == (1, 2)
    run(chain(one, two), tmp_path, start="s/one")
    assert (one.calls, two.calls) == (2, 3)


def test_only_runs_one_stage(tmp_path):
    one, two = Body(), Body()
    with pytest.raises(ArtifactError):
        run(chain(one, two), tmp_path, only="two")
    run(chain(one, two), tmp_path)
    run(chain(one, two), tmp_path, only="two")
    assert (one.calls, two.calls) == (1, 3)
    with pytest.raises(ConfigError, match="no stage 'three'"):
        run(chain(one, two), tmp_path, only="three")


def test_code_is_part_of_the_key():
    keys = {Stage("s", body).key({}) for body in (Body(), runner.perform, rendering.render)}
    assert len(keys) == 3, "each lies in another module"


def test_artifacts_travel_over_an_object_store(tmp_path, monkeypatch):
    store = Store(f"file://{tmp_path}")
    monkeypatch.setattr(
        store, "is_local", False
    )  # the path that s3:// takes, over a file system that is here
    with store.writing("s", "k" * 64, {"facts": {}}) as out:
        (out / "deep").mkdir()
        (out / "deep" / "file").write_text("here")
    assert store.manifest("s", "k" * 64)["files"] == {"deep/file": 4}
    assert (store.local("s", "k" * 64) / "deep" / "file").read_text() == "here"


def test_ctrl_c_stops_a_run_whatever_ray_installs_for_it():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), session.interruptible():
        signal.signal(signal.SIGINT, lambda *_: sys.exit(0))  # as Ray Train does
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    assert signal.getsignal(signal.SIGINT) is before
    with session.interruptible():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) is before, (
        "what was installed does not outlive its training"
    )


def test_an_unwritable_output_is_refused_at_the_start():
    with pytest.raises(ConfigError, match="cannot be written"):
        Store("/proc/raypipe").check_writable()


def test_the_record_of_a_killed_head_is_not_trusted(tmp_path, monkeypatch):
    from raypipe.cluster.session import address

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert address() == "local"
    (tmp_path / "ray").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as head:
        listening = f"127.0.0.1:{head.getsockname()[1]}"
        (tmp_path / "ray" / "ray_current_cluster").write_text(listening)
        assert address() == listening
    assert address() == "local"
    monkeypatch.setenv("RAY_ADDRESS", "ray://there:10001")
    assert address() == "ray://there:10001"


def test_trainers_that_are_ready_run_side_by_side(tmp_path):
    groups, lines = [], []

    def train(jobs, of):
        groups.append(([stage.name for _, stage, _, _ in jobs], of))
        for job in jobs:
            perform_missing(*job)

    bodies = {name: Body() for name in ("data", "base/a", "answers", "late/b")}
    bodies["base/b"] = Body(
        seconds=0.5
    )  # so that late/b, which is like it, is expected to take longest
    late = Body(fail=True)
    stages = [
        Stage("data", bodies["data"]),
        Stage("base/a", bodies["base/a"], {"a": "data"}, place="trainer"),
        Stage("answers", bodies["answers"], {"a": "data"}),
        Stage("late/a", late, {"a": "answers"}, place="trainer"),
        Stage("base/b", bodies["base/b"], {"a": "data"}, place="trainer"),
        Stage("late/b", bodies["late/b"], {"a": "base/b"}, place="trainer"),
    ]
    runner = Runner(stages, Store(str(tmp_path)), train=train, say=lines.append)
    with pytest.raises(RuntimeError, match="cut off"):
        runner.run()
    assert groups == [(["base/a", "base/b"], 4), (["late/b", "late/a"], 4)]
    assert lines.count("[ 5/6] base/b ...") == 1
    late.fail = False
    record = Runner(stages, Store(str(tmp_path)), train=train, say=lines.append).run()
    assert (
        groups[2:] == [(["late/a"], 4)]
        and [d.cached for d in record] == [True] * 3 + [False] + [True] * 2
    )
    assert [b.calls for b in bodies.values()] == [1] * 5, "what a group had finished is kept"
    Runner(stages, Store(str(tmp_path)), train=train, say=lines.append).run(only="base/a")
    assert groups[3:] == [(["base/a"], 4)] and bodies["base/a"].calls == 2


def test_a_checkpoint_counts_once_it_is_whole(tmp_path, monkeypatch):
    from raypipe.cluster import train

    monkeypatch.setattr(train.ray.train.torch, "get_device", lambda: "cpu")
    work = train.Alone(str(tmp_path / "scratch"), tmp_path, 0.0)
    with work.resume() as folder:
        assert folder is None
    for n in range(3):
        work.save(lambda folder, n=n: (folder / "n").write_text(str(n)))
    kept = sorted(p.name for p in (tmp_path / "scratch").iterdir())
    assert kept == ["checkpoint_000002", "latest"], "one is kept"
    with pytest.raises(OSError, match="disk"):

        def broken(folder):
            raise OSError("disk")

        work.save(broken)
    (
        tmp_path / "scratch" / "checkpoint_000003"
    ).mkdir()  # what a kill in the middle of a copy leaves
    again = train.Alone(str(tmp_path / "scratch"), tmp_path, 0.0)
    with again.resume() as folder:
        assert (folder / "n").read_text() == "2"
    again.save(lambda folder: (folder / "n").write_text("3"))
    with again.resume() as folder:
        assert (folder / "n").read_text() == "3"


def test_what_is_left_is_told_from_what_the_like_of_it_took(tmp_path):
    def fits(ctx):
        return {}

    stages = [
        Stage("seed0/base/a", fits),
        Stage("seed0/base/b", fits),
        Stage("seed1/base/a", fits),
        Stage("seed1/base/c", fits),
    ]
    done = [(stages[0], 100.0), (stages[1], 300.0)]
    assert remaining.remaining(stages[2:3], done) == (100.0, True), "another seed of the same"
    assert remaining.remaining(stages[2:], done) == (300.0, True), (
        "and the mean of all with this body"
    )
    assert remaining.remaining(stages[2:], done, overlap=0.5) == (300.0, True), (
        "what runs alone is not made shorter"
    )
    trained = [dataclasses.replace(s, place="trainer") for s in stages[2:]]
    assert remaining.remaining(trained, done, overlap=0.5) == (150.0, True)
    assert remaining.remaining([stages[2], Stage("evaluate", Body())], done) == (100.0, False)
    late = [Stage(f"seed1/augment/{n}", fits) for n in ("c@train", "a@first", "b@first")]
    assert remaining.guesses(late, done) == [200.0, 100.0, 300.0], (
        "the same backbone's in another row"
    )
    assert remaining.longest_first(late, done) == [late[2], late[0], late[1]]
    unknown = [Stage("seed0/other/x", Body()), *late[1:]]
    assert (
        remaining.longest_first(unknown, done) == [unknown[0], late[2], late[1]]
        and remaining.longest_first(late, []) == late
    )
    assert remaining.overlap(200.0, 400.0) == 0.5 and remaining.overlap(0.0, 0.0) == 1.0
    assert (
        remaining.told((59.0, True)) == ""
        and remaining.told((7500.0, False)) == "at least 2 h 05 min left"
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


def test_the_time_of_a_stage_that_was_killed_is_told_as_its_last_part(tmp_path):
    body = Body()
    stages = [Stage("whole", body), Stage("killed", body)]
    store = Store(str(tmp_path))
    Path(store.scratch("killed", stages[1].key({}))).mkdir(parents=True)
    for _ in range(2):  # the second finds both done
        record = Runner(stages, store, say=lambda line: None).run()
        assert [(d.name, d.resumed) for d in record] == [("whole", False), ("killed", True)]
    assert [s["resumed"] for s in environment.stages(record)] == [False, True]


def test_tables_are_written_in_the_order_of_their_parts_and_none_is_lost_unseen(
    tmp_path, monkeypatch
):
    import ray.data

    class Numbers:
        """Ray Data's tasks, one after another in this process, the last first."""

        def __init__(self, n, override_num_blocks):
            self.parts = np.array_split(np.arange(n), override_num_blocks)[::-1]

        def map_batches(self, each, batch_size):
            made = [each({"id": part}) for part in self.parts]
            return SimpleNamespace(
                iter_rows=lambda: [{"rows": value} for one in made for value in one["rows"]]
            )

    monkeypatch.setattr(ray.data, "range", Numbers)
    monkeypatch.setattr(ray_data, "quiet", lambda: None)
    monkeypatch.setattr(ray_data.session, "resources", lambda: {"CPU": 1.0})
    parts, folder = [f"part {n}" for n in range(12)], str(tmp_path / "made")
    two = lambda part: (pa.table({"of": [part] * rows}) for rows in (2, 1))  # noqa: E731
    for _ in range(2):  # a task that is done again writes the same files
        assert ray_data.write_parts(parts, two, folder) == 36
        assert ray_data.read_finished(folder)["of"].tolist() == [
            part for part in parts for _ in range(3)
        ]
    assert ray_data.write_parts([], two, str(tmp_path / "none")) == 0
    monkeypatch.setattr(
        ray_data, "finished", lambda folder: (30, [])
    )  # what another node wrote on its own disk
    with pytest.raises(ArtifactError, match="6 of 36 rows"):
        ray_data.write_parts(parts, two, folder)


def test_a_head_that_warms_up_is_given_time(monkeypatch):
    import ray.job_submission
    import submit

    calls = []

    class Client:
        def __init__(self, address):
            calls.append(address)

        def submit_job(self, **what):
            if len(calls) < 3:
                raise RuntimeError("no agent yet")
            return what["entrypoint"]

    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", Client)
    monkeypatch.setattr(submit.time, "sleep", lambda seconds: None)
    assert submit.submit("here", "run", {}, 60)[1] == "run" and calls == ["here"] * 3
    calls.clear()
    with pytest.raises(RuntimeError, match="no agent"):
        submit.submit("there", "run", {}, 0)
    assert calls == ["there"]


def test_only_the_job_server_of_a_dead_head_is_ended(tmp_path, monkeypatch):
    import submit

    monkeypatch.setattr(submit, "LOCAL", "http://127.0.0.1:18265")
    script = tmp_path / "dashboard.py"
    script.write_text("import time\ntime.sleep(60)\n")
    with socket.socket() as living, socket.socket() as dead:
        for one in (living, dead):
            one.bind(("127.0.0.1", 0))
        living.listen()
        heads = [one.getsockname()[1] for one in (living, dead)]
        servers = [
            subprocess.Popen(
                [sys.executable, str(script), f"--port={port}", f"--gcs-address=127.0.0.1:{head}"]
            )
            for port, head in ((18265, heads[0]), (18265, heads[1]), (18266, heads[1]))
        ]
        try:
            submit.end_leftover()
            assert [s.poll() is None for s in servers] == [True, False, True]
        finally:
            for server in servers:
                server.kill()


def test_a_user_who_never_used_ray_gets_a_token_and_another_keeps_theirs(
    monkeypatch, tmp_path, capfd
):
    import submit

    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    submit.make_token()
    token = (tmp_path / ".ray" / "auth_token").read_text()
    submit.make_token()
    assert len(token) >= 32 and (tmp_path / ".ray" / "auth_token").read_text() == token
    assert token not in "".join(capfd.readouterr()), "secrets never reach logs"


def test_both_jobs_are_submitted_with_their_own_options_and_whole_paths(monkeypatch, tmp_path):
    import submit

    monkeypatch.chdir(tmp_path)
    made = submit.arguments("reclm_pipeline", ["--rows", "base", "--set", "seeds=2", "--dry-run"])
    assert made == [
        "--out",
        str(tmp_path / "runs" / "reclm-toy"),
        "--set",
        "seeds=2",
        "--rows",
        "base",
        "--dry-run",
    ]
    made = submit.arguments("full_pipeline", ["--tasks", "direct", "--from", "split"])
    assert made == ["--out", str(tmp_path / "runs" / "toy"), "--tasks", "direct", "--from", "split"]
    llm = tmp_path / "my-llm"
    llm.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (llm / name).touch()
    made = submit.arguments("full_pipeline", ["--set", "llm.source=my-llm"])
    assert made[-2:] == ["--set", f"llm.source={llm}"], (
        "the job runs in the head's folder, not in this one"
    )
    with pytest.raises(ConfigError, match="there is no direct backbone 'sasrec'"):
        submit.arguments("reclm_pipeline", ["--backbones", "sasrec"])


def _sharing(rank, folder):
    """One of two processes, each with a folder of its own."""
    import torch

    from raypipe.cluster import train

    work = object.__new__(train.Session)  # without Ray, whose part is to tell the next three
    work.rank, work.world, work.device = rank, 2, torch.device("cpu")
    own = Path(folder, str(rank))
    if rank == 0:
        (own / "policy").mkdir(parents=True)
        (own / "policy" / "weights").write_bytes(bytes(range(256)) * 999)
        (own / "policy" / "empty").write_bytes(b"")
    work.share(own)
    return {str(p.relative_to(own)): p.read_bytes() for p in own.rglob("*") if p.is_file()}


def test_every_worker_gets_what_worker_0_wrote(tmp_path):
    got = of_two(_sharing, str(tmp_path))
    assert got[0] == got[1] == {"policy/weights": bytes(range(256)) * 999, "policy/empty": b""}
