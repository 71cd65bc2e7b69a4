"""`raypipe serve`: which bundle, where, and an end by Ctrl-C."""

import pytest

from raypipe.cli.main import main
from raypipe.serving import local


@pytest.fixture
def served(monkeypatch):
    """The bundles that were served, each until Ctrl-C."""
    served = []

    def serve(bundle, host, port):
        served.append((bundle, host, port))
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "serve", serve)
    return served


def test_ctrl_c_is_the_usual_end_of_a_server(served, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAYPIPE_BUNDLE", raising=False)
    newest = tmp_path / "runs" / "one" / "bundle"
    newest.mkdir(parents=True)
    (newest / "bundle.json").write_text("{}")
    assert main(["serve"]) == 0
    assert main(["serve", str(tmp_path), "--host", "0.0.0.0", "--port", "8123"]) == 0
    assert served == [(newest, "127.0.0.1", 8000), (tmp_path, "0.0.0.0", 8123)]
