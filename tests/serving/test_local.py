"""Serving from Python: Ray Serve is started where it is told, and always shut down."""

import contextlib

import pytest

from raypipe.errors import ArtifactError
from raypipe.serving import local


@pytest.fixture
def calls(monkeypatch):
    """The calls of Ray Serve, which Ctrl-C ends."""
    calls = []

    def run(application, blocking):
        calls.append(("run", application, blocking))
        raise KeyboardInterrupt

    monkeypatch.setattr(local.session, "connected", lambda say: contextlib.nullcontext())
    monkeypatch.setattr(local.ray_serve, "start", lambda http_options: calls.append(http_options))
    monkeypatch.setattr(local.ray_serve, "run", run)
    monkeypatch.setattr(local.ray_serve, "shutdown", lambda: calls.append("shutdown"))
    return calls


def test_ctrl_c_shuts_the_service_down(tmp_path, calls):
    (tmp_path / "bundle.json").write_text("{}")
    with pytest.raises(KeyboardInterrupt):
        local.serve(str(tmp_path), "0.0.0.0", 8123)
    options, (name, application, blocking), end = calls
    assert options == {"host": "0.0.0.0", "port": 8123} and end == "shutdown"
    assert name == "run" and blocking
    assert application._bound_deployment.init_args == (str(tmp_path),)


def test_nothing_starts_without_a_bundle(tmp_path, calls):
    with pytest.raises(ArtifactError, match="there is no bundle"):
        local.serve(tmp_path)
    assert not calls
