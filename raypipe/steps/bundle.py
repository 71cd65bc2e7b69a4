"""Every bundle is a folder with bundle.json; this file reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from raypipe.errors import ArtifactError


def read_head(folder: Path, format: int | None = None) -> dict[str, Any]:
    """The content of bundle.json.

    Raises:
        ArtifactError: the folder is not a bundle, or one of another format than `format`.
    """
    head = folder / "bundle.json"
    if not head.is_file():
        raise ArtifactError(
            f"{folder} is not a bundle: it has no bundle.json",
            str(folder),
            "run the pipeline, or name its bundle/ folder",
        )
    facts: dict[str, Any] = json.loads(head.read_text())
    if format is not None and facts["format"] != format:
        raise ArtifactError(
            f"the bundle has format {facts['format']}, this version reads {format}",
            str(folder),
            "run the pipeline again to write a new bundle",
        )
    return facts
