"""A stage: a named function from artifacts to an artifact, and its content key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from raypipe.pipeline.code_version import code_version
from raypipe.pipeline.store import Store


@dataclass(frozen=True)
class Context:
    """What a stage's body receives.

    Args:
        store, name, key: where its artifact goes.
        out: the folder to write to.
        scratch: path or URI for unfinished work; it survives an interruption.
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
        run: the body; takes a Context and returns facts for the manifest (rows, counts, seconds).
        inputs: local name -> name of the stage that makes it.
        config: the settings that decide its output, as JSON values.
        place: "worker": the body runs in one Ray worker. "driver": it runs Ray Data, Train or Tune.
            "trainer": it trains with one worker; ready trainers run in parallel.
        resources: shown by --dry-run, e.g. "2 x 1 CPU".
    """

    name: str
    run: Callable[[Context], dict[str, Any]]
    inputs: Mapping[str, str] = field(default_factory=dict)
    config: Any = None
    place: Literal["worker", "driver", "trainer"] = "worker"
    resources: str = "1 CPU"

    def key(self, input_keys: Mapping[str, str]) -> str:
        """The content key: a hash of name, settings, code version and the keys of the inputs."""
        facts = {
            "name": self.name,
            "config": self.config,
            "inputs": {local: input_keys[stage] for local, stage in sorted(self.inputs.items())},
            "code": code_version(self.run),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
