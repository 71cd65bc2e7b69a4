"""An OpenAI-compatible server for tests."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest


@contextmanager
def serving_endpoint():
    """A server whose `answers` map a model to a text or a status, or to a list of these, one for
    each request.
    """
    state = SimpleNamespace(answers={}, requests=[])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.requests.append((self.headers["authorization"], body))
            answer = state.answers.get(body["model"], 404)
            if isinstance(answer, list):
                answer = answer.pop(0)
            status = answer if isinstance(answer, int) else 200
            message = {"role": "assistant", "content": answer}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
            reply = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": choices,
                "usage": usage,
            }
            text = json.dumps(reply if status == 200 else {"error": {"message": "no"}}).encode()
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


@pytest.fixture
def endpoint():
    """A server of the test's own, see `serving_endpoint`."""
    with serving_endpoint() as state:
        yield state
