"""Starting, finding and stopping Ray."""

import os
import signal
import socket
import sys
import time

import pytest

from raypipe.cluster import session


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
