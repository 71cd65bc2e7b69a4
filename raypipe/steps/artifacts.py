"""The LLM that a stage left, and hashes of files."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path


def llm_path(folder: Path) -> str:
    """The folder or hub id of a stage's LLM: what its source.json names, else its own model/."""
    reference = folder / "source.json"
    if reference.is_file():
        return str(json.loads(reference.read_text())["model"])
    return str(folder / "model")


def file_hashes(folder: Path) -> list[tuple[str, str]]:
    """Name and SHA-256 of each file of a folder, sorted by name."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [(file.name, _file_hash(file)) for file in files]


def _file_hash(file: Path) -> str:
    status = file.stat()
    return _cached_hash(str(file), status.st_size, status.st_mtime_ns)


@functools.cache
def _cached_hash(path: str, size: int, modified_ns: int) -> str:
    """The hash of a file; size and time tell whether it changed. Many runs then read it once."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
