"""What stages leave for later ones: the folder of an LLM, and what identifies files by their content."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path


def model_of(folder: Path) -> str:
    """The LLM of a stage's output: its own folder, or what the reference names."""
    reference = folder / "source.json"
    return (
        json.loads(reference.read_text())["model"] if reference.is_file() else str(folder / "model")
    )


def contents(folder: Path) -> list[tuple[str, str]]:
    """Name and hash of each file of a folder."""
    return [(f.name, _content(f)) for f in sorted(folder.iterdir()) if f.is_file()]


def _content(file: Path) -> str:
    known = file.stat()
    return _digest(str(file), known.st_size, known.st_mtime_ns)


@functools.cache
def _digest(path: str, size: int, changed: int) -> str:
    """The hash of a file that is so large and was changed then; an experiment's many runs read it once."""
    with Path(path).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
