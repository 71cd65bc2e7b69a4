"""Serve a bundle from Python, until Ctrl-C."""

from __future__ import annotations

from pathlib import Path

from ray import serve as ray_serve

from raypipe.cluster import session
from raypipe.serving.app import deployment


def serve(bundle: str | Path, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve a bundle over HTTP with Ray Serve until Ctrl-C; the page /docs describes the requests.

    Raises:
        ArtifactError: the folder is not a bundle.
        ConfigError: the extra `serve` is not installed, or no Ray cluster answers.
    """
    application = deployment(Path(bundle).expanduser())
    with session.connected(print):
        ray_serve.start(http_options={"host": host, "port": port})
        try:
            ray_serve.run(application, blocking=True)
        finally:
            ray_serve.shutdown()
