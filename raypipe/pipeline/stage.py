"""A stage: a named function from artifacts to an artifact, and the key of its content."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from raypipe.pipeline.store import Store

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Context:
    """What a stage body gets.

    Args:
        store, name, key: the place of its own artifact.
        out: the folder to write to.
        scratch: path or URI for unfinished work, the same after a kill.
        inputs: input name -> (stage name, key).
    """

    store: Store
    name: str
    key: str
    out: Path
    scratch: str
    inputs: Mapping[str, tuple[str, str]]

    def input(self, name: str) -> Path:
        """The local folder of an input artifact."""
        return self.store.local(*self.inputs[name])


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline.

    Args:
        name: unique in its run, e.g. "seed0/base/light_gcn".
        run: body; gets a Context and returns facts for the manifest (rows, counts, seconds by kind).
        inputs: local name -> name of the stage that makes it.
        config: the settings that decide its output; anything JSON can hold.
        code: files and folders of the package, relative to it, whose change invalidates the output.
        place: "worker": the body runs in one Ray worker. "driver": it only orchestrates Ray Data, Train or Tune. "trainer": it
            trains alone, and those that are ready run side by side.
        resources: shown by --dry-run, e.g. "2 x 1 CPU".
    """

    name: str
    run: Callable[[Context], dict[str, Any]]
    inputs: Mapping[str, str] = field(default_factory=dict)
    config: Any = None
    code: tuple[str, ...] = ()
    place: Literal["worker", "driver", "trainer"] = "worker"
    resources: str = "1 CPU"

    def key(self, input_keys: Mapping[str, str]) -> str:
        """The content key: a hash of name, settings, code and the keys of the inputs."""
        facts = {
            "name": self.name,
            "config": self.config,
            "inputs": {local: input_keys[stage] for local, stage in sorted(self.inputs.items())},
            "code": {path: code_version(path) for path in self.code},
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


@functools.cache
def code_version(path: str) -> str:
    """A hash of the source below `path`, relative to the package."""
    root = PACKAGE / path
    files = sorted(root.rglob("*.py")) if root.is_dir() else [root]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
