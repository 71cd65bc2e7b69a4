"""Serving. Its files import Ray Serve and FastAPI, which the extra `serve` brings."""

from raypipe import extras

extras.need("serve", "raypipe.serving")
