"""Commands that need no cluster, because this process does the work of Ray's workers."""

import contextlib

import pytest


@pytest.fixture
def without_ray(monkeypatch):
    """Let this process do what workers do; `connected` connects to nothing."""
    from raypipe.cluster import session

    def in_this_process(function, *arguments, cpus=1, gpu=False):
        return function(*arguments)

    monkeypatch.setattr(session, "connected", lambda *arguments: contextlib.nullcontext())
    monkeypatch.setattr(session, "in_worker", in_this_process)
    monkeypatch.setattr(session, "resources", lambda: {"CPU": 1.0})
    node = {"Alive": True, "Resources": {"CPU": 1.0}}
    monkeypatch.setattr(session.ray, "nodes", lambda: [node])
