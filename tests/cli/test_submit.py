"""Submitting jobs to a Ray head."""

import socket
import subprocess
import sys

import pytest

from raypipe.errors import ConfigError


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
