"""Starting, finding and stopping Ray."""

import contextlib
import os
import signal
import socket
import sys
import time

import pytest

from raypipe.cluster import session
from raypipe.errors import ConfigError
from raypipe.pipeline.stage import Stage
from raypipe.pipeline.store import Store
from raypipe.steps.ray_runner import runner


def test_ctrl_c_stops_a_run_whatever_handler_ray_installs():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), session.interruptible():
        signal.signal(signal.SIGINT, lambda *_: sys.exit(0))  # as Ray Train does
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    assert signal.getsignal(signal.SIGINT) is before
    with session.interruptible():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) is before, "the handler is removed after its training"


def test_ctrl_c_that_was_lost_ends_the_run_at_its_next_line(tmp_path, monkeypatch):
    handler = signal.getsignal(signal.SIGINT)
    lines = []

    def lose_ctrl_c(ctx):
        with contextlib.suppress(KeyboardInterrupt):  # as in a callback of Ray
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    stages = [Stage(name, lose_ctrl_c, place="driver") for name in ("first", "second")]
    store = Store(str(tmp_path))
    with pytest.raises(KeyboardInterrupt), session._noticing_interrupts():
        runner(stages, store, lines.append).run()
    assert lines == ["[ 1/2] first ..."] and signal.getsignal(signal.SIGINT) is handler
    session.raise_if_interrupted()  # it counts once
    assert runner(stages[:1], store, lines.append).plan()[0].cached, "what was done is kept"


def test_the_address_of_a_killed_head_is_not_used(tmp_path, monkeypatch):
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


@pytest.mark.parametrize(
    "error,parts",
    [
        (ConnectionError("10.0.0.1:6379"), ["no Ray cluster answers", "10.0.0.1:6379"]),
        (session.ray.exceptions.AuthenticationError("no"), ["refused the token", "RAY_AUTH_TOKEN"]),
    ],
)
def test_a_cluster_that_lets_nobody_in_is_one_sentence_with_a_remedy(error, parts, monkeypatch):
    def init(**settings):
        raise error

    monkeypatch.setattr(session.ray, "init", init)
    for name in (*session.QUIET, *session.KEEP_IDLE_WORKERS, "RAY_BACKEND_LOG_LEVEL"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(ConfigError) as raised, session.connected(print):
        pass
    assert all(part in str(raised.value) for part in [*parts, "RAY_ADDRESS=10.0.0.1:6379"])


def test_lines_are_fetched_once_and_nobody_waits_where_there_is_no_ray():
    board = session.Board()
    for line in ("one", "two"):
        board.post(line)
    assert [board.drain(), board.drain()] == [["one", "two"], []]
    session.post("without Ray")


def test_a_training_that_ray_train_ends_by_system_exit_counts_as_interrupted():
    with pytest.raises(KeyboardInterrupt), session.interruptible():
        sys.exit(0)
