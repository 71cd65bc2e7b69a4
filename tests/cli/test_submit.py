"""`raypipe submit` checks arguments, makes paths absolute, and returns the job's exit code."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from raypipe.cli import submitting
from raypipe.cli.main import main
from raypipe.cli.submit import run_words
from raypipe.cli.submitting import environment
from raypipe.errors import ConfigError
from raypipe.papers import contract

PAPER = contract.find("llama4rec")


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("seeds: 2")
    words = run_words(
        PAPER, ["--preset", "mine.yaml", "--data", "toy", "--data-dir", "own", "--out", "here"]
    )
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    assert pairs == {
        "--preset": str(tmp_path / "mine.yaml"),
        "--data": "toy",
        "--data-dir": str(tmp_path / "own"),
        "--out": str(tmp_path / "here"),
    }
    assert run_words(PAPER, [])[-2:] == ["--out", str(tmp_path / "runs" / "toy")]
    assert run_words(PAPER, ["--out", "s3://bucket/run"]) == ["--out", "s3://bucket/run"]


def test_all_options_of_the_run_are_passed_on(tmp_path):
    words = ["--from", "split", "--only", "llm/base", "--verbose", "--list", "--seeds", "2"]
    words += ["--set", "llm.tune.epochs=3", "--set", 'variants=["ift"]', "--out", str(tmp_path)]
    result = run_words(PAPER, words)
    for option in ("--from", "--only", "--verbose", "--list", "--seeds"):
        assert option in result
    assert result.count("--set") == 2 and 'variants=["ift"]' in result


def test_the_folder_of_an_llm_becomes_an_absolute_path_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(type(PAPER), "check", lambda self, config: None)
    (tmp_path / "llama").mkdir()
    whole = str(tmp_path / "llama")
    assert run_words(PAPER, ["--llm", "llama"]).count(whole) == 1
    assigned = run_words(PAPER, ["--set", "llm.source=llama"])
    assert assigned.count("--set") == 1 and f"llm.source={whole}" in assigned
    (tmp_path / "mine.yaml").write_text("llm: {source: llama}")
    assert f"llm.source={whole}" in run_words(PAPER, ["--preset", "mine.yaml"])


@pytest.mark.parametrize(
    "words,name",
    [
        ([], "llama4rec"),
        (["--seeds", "2"], "llama4rec"),
        (["reclm", "--seeds", "2"], "reclm"),
        (["--job", "reclm_pipeline", "--seeds", "2"], "reclm"),
        (["--job", "full_pipeline", "--set", "seeds=2"], "llama4rec"),
    ],
)
@pytest.mark.parametrize("code", [0, 1, 2, 130])
def test_the_paper_is_named_and_the_exit_code_is_the_jobs(words, name, code, monkeypatch):
    submitted = []

    def follow(command):
        submitted.append(command)
        return code

    monkeypatch.setattr(submitting, "submit_and_follow", follow)
    assert main(["submit", *words]) == code
    assert submitted[0][:2] == ["run", name] and "--out" in submitted[0]


@pytest.mark.parametrize(
    "words,part",
    [
        (["--seeds", "many"], "valid integer"),
        (["--set", "llm.tune.epocs=3"], "did you mean llm.tune.epochs?"),
        (["--job", "full_pipeline", "reclm"], "both name the paper"),
        (["recml"], "did you mean reclm?"),
        (["--llm", "/nowhere"], "no LLM folder /nowhere"),
        (["--job", "pipeline"], "full_pipeline"),
    ],
)
def test_faulty_options_are_refused_before_the_run_is_submitted(words, part, monkeypatch, capsys):
    monkeypatch.setattr(submitting, "submit_and_follow", lambda command: pytest.fail("submitted"))
    assert main(["submit", *words]) == 2
    assert part in capsys.readouterr().err


def test_the_package_is_found_by_the_job(monkeypatch, tmp_path):
    assert environment(remote=False) == {}, "the run sets the workers' PYTHONPATH itself"
    here = submitting.entrypoint(["run", "llama4rec"], remote=False).split()
    assert here[0] == "env" and here[1].split("=")[1].split(":")[0] == str(submitting.ROOT)
    away = submitting.entrypoint(["run", "llama4rec"], remote=True)
    assert away == "python -m raypipe run llama4rec"
    upload = environment(remote=True)
    assert upload["working_dir"] == str(submitting.ROOT) and ".venv" in upload["excludes"]
    monkeypatch.setattr(submitting, "ROOT", tmp_path)
    assert environment(remote=True) == {"py_modules": [str(tmp_path / "raypipe")]}


def test_a_starting_head_is_waited_for(monkeypatch):
    import ray.job_submission

    calls = []

    class Client:
        def __init__(self, address):
            calls.append(address)

        def submit_job(self, **what):
            if len(calls) < 3:
                raise RuntimeError("no agent yet")
            return what["entrypoint"]

    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", Client)
    monkeypatch.setattr(submitting.time, "sleep", lambda seconds: None)
    assert submitting.submit("here", "run", {}, 60)[1] == "run" and calls == ["here"] * 3
    calls.clear()
    with pytest.raises(RuntimeError, match="no agent"):
        submitting.submit("there", "run", {}, 0)
    assert calls == ["there"]


def test_only_the_job_server_of_a_dead_head_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(submitting, "LOCAL", "http://127.0.0.1:18265")
    script = tmp_path / "dashboard.py"
    script.write_text("import time\ntime.sleep(60)\n")
    with socket.socket() as living, socket.socket() as dead:
        for listener in (living, dead):
            listener.bind(("127.0.0.1", 0))
        living.listen()
        heads = [listener.getsockname()[1] for listener in (living, dead)]
        servers = [
            subprocess.Popen(
                [sys.executable, str(script), f"--port={port}", f"--gcs-address=127.0.0.1:{head}"]
            )
            for port, head in ((18265, heads[0]), (18265, heads[1]), (18266, heads[1]))
        ]
        try:
            submitting.end_leftover()
            assert [s.poll() is None for s in servers] == [True, False, True]
        finally:
            for server in servers:
                server.kill()


def test_a_user_who_never_used_ray_gets_a_token_and_another_keeps_theirs(
    monkeypatch, tmp_path, capfd
):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    submitting.make_token()
    token = (tmp_path / ".ray" / "auth_token").read_text()
    submitting.make_token()
    assert len(token) >= 32 and (tmp_path / ".ray" / "auth_token").read_text() == token
    assert token not in "".join(capfd.readouterr()), "secrets do not reach logs"


def test_both_papers_keep_their_own_options(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = run_words(contract.find("reclm"), ["--rows", "base", "--set", "seeds=2", "--dry-run"])
    out = str(tmp_path / "runs" / "reclm-toy")
    assert words == ["--rows", "base", "--out", out, "--set", "seeds=2", "--dry-run"]
    words = run_words(PAPER, ["--tasks", "direct", "--from", "split"])
    out = str(tmp_path / "runs" / "toy")
    assert words == ["--tasks", "direct", "--out", out, "--from", "split"]
    with pytest.raises(ConfigError, match="there is no direct backbone 'sasrec'"):
        run_words(contract.find("reclm"), ["--backbones", "sasrec"])
