"""Shared pieces: small toy data, and the jobs folder on the path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
os.environ["RAY_ENABLE_AUTO_CONNECT"] = (
    "0"  # Ray starts where a test says so, or fails there: never by the way
)
sys.path.insert(0, str(ROOT / "jobs"))

from raypipe.backbones.interaction_matrices import InteractionMatrices  # noqa: E402
from raypipe.data.config import DataConfig  # noqa: E402
from raypipe.data.dataset import read  # noqa: E402
from raypipe.data.split import make_split  # noqa: E402


@pytest.fixture(scope="session")
def toy() -> InteractionMatrices:
    config = DataConfig(name="toy", options={"users": 60, "items": 72, "mean_length": 12})
    dataset = read(config)
    return InteractionMatrices(dataset, make_split(dataset.interactions, config, 2))


@pytest.fixture
def ml_100k() -> Path:
    """The folder of MovieLens-100K, where a developer has it."""
    folder = ROOT.parent / "shared" / "data" / "ml-100k"
    if not (folder / "u.data").is_file():
        pytest.skip("MovieLens-100K is not there: its licence forbids shipping it")
    return folder


@pytest.fixture
def endpoint():
    """An OpenAI-compatible server of the test's own: `answers` maps a model to a text, a status, or a list of these in turn."""
    import json
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from types import SimpleNamespace

    state = SimpleNamespace(answers={}, requests=[])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.requests.append((self.headers["authorization"], body))
            say = state.answers.get(body["model"], 404)
            if isinstance(say, list):
                say = say.pop(0)
            status = say if isinstance(say, int) else 200
            message = {"role": "assistant", "content": say}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
            made = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": choices,
                "usage": usage,
            }
            text = json.dumps(made if status == 200 else {"error": {"message": "no"}}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("retry-after-ms", "1")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *anything):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield state
    server.shutdown()
