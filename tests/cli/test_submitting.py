"""From a command line to the exit code of its job: heads that start, refuse and get lost."""

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
import ray.job_submission
from ray.job_submission import JobStatus

from raypipe.cli import submitting
from raypipe.errors import ConfigError

LOG = "2026 INFO job_manager.py:531 -- Runtime env\n(raylet) a hint\nstage one\nstage two\n"


class Client:
    """A job server that runs no job; class attributes say how the job ends."""

    status: JobStatus | Exception | type[BaseException] = JobStatus.SUCCEEDED
    refusal: Exception | None = None
    calls: list[tuple[str, ...]] = []

    def __init__(self, address):
        self.address = address

    def submit_job(self, entrypoint, runtime_env):
        if self.refusal:
            raise self.refusal
        self.calls.append(("submit", self.address, entrypoint))
        return "job-7"

    async def tail_job_logs(self, job):
        yield LOG
        if not isinstance(self.status, JobStatus):
            raise self.status

    def get_job_status(self, job):
        return self.status

    def stop_job(self, job):
        self.calls.append(("stop", job))


@pytest.fixture
def client(monkeypatch):
    """The job server of a remote cluster."""

    class Remote(Client):
        calls: list[tuple[str, ...]] = []

    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", Remote)
    monkeypatch.setenv("RAY_ADDRESS", "http://far:8265")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    return Remote


def test_the_log_of_a_job_is_printed_without_ray_s_own_lines(client, capsys):
    assert submitting.submit_and_follow(["run", "llama4rec"]) == 0
    assert capsys.readouterr().out == "job job-7\nstage one\nstage two\n"
    assert client.calls == [("submit", "http://far:8265", "python -m raypipe run llama4rec")]


def test_a_job_that_fails_gives_the_exit_code_of_a_failure(client, capsys):
    client.status = JobStatus.FAILED
    assert submitting.submit_and_follow(["run"]) == submitting.FAILED
    assert "the job ended as FAILED" in capsys.readouterr().err


def test_ctrl_c_stops_the_job(client, capsys):
    client.status = KeyboardInterrupt
    assert submitting.submit_and_follow(["run"]) == submitting.INTERRUPTED
    assert client.calls[-1] == ("stop", "job-7")
    assert "Run the same command to resume" in capsys.readouterr().out


def test_a_lost_head_says_how_to_go_on(client, capsys):
    client.status = RuntimeError("closed")
    assert submitting.submit_and_follow(["run"]) == submitting.FAILED
    assert "connection to the job was lost (RuntimeError)" in capsys.readouterr().err


def test_a_cluster_that_takes_no_job_is_named(client, capsys):
    client.refusal = ConnectionError("nobody listens")
    assert submitting.submit_and_follow(["run"]) == submitting.REFUSED
    assert "http://far:8265 took no job: nobody listens" in capsys.readouterr().err


def test_without_an_address_a_head_starts_here_once(client, monkeypatch, capsys):
    monkeypatch.delenv("RAY_ADDRESS")
    commands, answers = [], [False, True]

    def ray_command(*words):
        commands.append(words)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(submitting, "_ray", ray_command)
    monkeypatch.setattr(submitting, "end_leftover", lambda: None)
    monkeypatch.setattr(submitting, "head_answers", lambda: answers.pop(0))
    for _ in range(2):
        assert submitting.submit_and_follow(["run"]) == 0
    assert [words[0] for words in commands] == ["get-auth-token", "start"]
    assert "--dashboard-host=127.0.0.1" in commands[1], "reachable from this machine only"
    assert capsys.readouterr().out.startswith("starting a Ray head on this machine")
    assert [call[1] for call in client.calls] == [submitting.LOCAL] * 2


@pytest.mark.parametrize(
    "failing,part", [("get-auth-token", "no token for a Ray head"), ("start", "port is taken")]
)
def test_a_head_that_cannot_start_is_one_sentence_with_a_remedy(failing, part, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")

    def ray_command(*words):
        return SimpleNamespace(returncode=words[0] == failing, stdout="", stderr="x\nport is taken")

    monkeypatch.setattr(submitting, "_ray", ray_command)
    with pytest.raises(ConfigError, match=part) as error:
        submitting.start_head()
    assert error.value.todo


@pytest.mark.parametrize("status,answers", [(200, True), (401, True), (None, False)])
def test_a_head_answers_even_where_it_wants_a_token(status, answers, monkeypatch):
    class Head(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *anything):
            pass

    with HTTPServer(("127.0.0.1", 0), Head) as server:
        monkeypatch.setattr(submitting, "LOCAL", f"http://127.0.0.1:{server.server_port}")
        if status:
            threading.Thread(target=server.handle_request, daemon=True).start()
        else:
            server.server_close()
        assert submitting.head_answers() is answers
