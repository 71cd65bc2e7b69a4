"""Runs stages in order, skipping those whose artifact is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raypipe.errors import ConfigError
from raypipe.pipeline.stage import Context, Stage
from raypipe.pipeline.store import Store


@dataclass(frozen=True)
class Done:
    """One line of a run's record."""

    name: str
    key: str
    seconds: float
    cached: bool
    facts: dict[str, Any]


@dataclass(frozen=True)
class Planned:
    """A stage with its key and whether its artifact is there."""

    stage: Stage
    key: str
    cached: bool


def perform(store: Store, stage: Stage, key: str, inputs: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Run one body and commit its output; may be called in any process that reaches the store."""
    started = time.time()
    manifest: dict[str, Any] = {"name": stage.name, "key": key, "config": stage.config, "inputs": inputs}
    with store.writing(stage.name, key, manifest) as out:
        facts = stage.run(Context(store, stage.name, key, out, store.scratch(stage.name, key), inputs)) or {}
        manifest["facts"] = facts
        manifest["seconds"] = time.time() - started
    return manifest


class Runner:
    """Runs a list of stages, each after its inputs.

    Args:
        stages: in an order in which every input comes before its use.
        store: where artifacts live.
        submit: runs `perform` for a stage that is not `on_driver`, e.g. in a Ray worker.
        say: prints progress.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        store: Store,
        submit: Callable[..., dict[str, Any]] = perform,
        say: Callable[[str], None] = print,
    ) -> None:
        self.stages, self.store, self.submit, self.say = list(stages), store, submit, say
        self.keys: dict[str, str] = {}
        for stage in self.stages:
            absent = set(stage.inputs.values()) - set(self.keys)
            assert not absent, f"{stage.name} needs {absent} before it"
            assert stage.name not in self.keys, f"two stages are called {stage.name}"
            self.keys[stage.name] = stage.key(self.keys)

    def plan(self) -> list[Planned]:
        """Every stage with its key and whether it is done."""
        return [Planned(s, self.keys[s.name], self.store.manifest(s.name, self.keys[s.name]) is not None) for s in self.stages]

    def matching(self, name: str, option: str) -> set[str]:
        """Names of the stages that `name` selects: a whole name, or the part after the seed."""
        chosen = {s.name for s in self.stages if name in (s.name, s.name.partition("/")[2])}
        if not chosen:
            raise ConfigError(f"there is no stage {name!r}", option, f"choose one of {', '.join(s.name for s in self.stages)}")
        return chosen

    def run(self, start: str | None = None, only: str | None = None) -> list[Done]:
        """Run what is missing.

        Args:
            start: run this stage again, and with it all that depend on it (--from).
            only: run this stage alone, its inputs must be there (--only).
        """
        again = self.matching(start, "--from") if start else set()
        for stage in self.stages:
            if again & set(stage.inputs.values()):
                again.add(stage.name)
        chosen = self.matching(only, "--only") if only else {s.name for s in self.stages}
        if only:
            again |= chosen
        record = []
        for number, stage in enumerate(self.stages, 1):
            key = self.keys[stage.name]
            manifest = self.store.manifest(stage.name, key)
            if stage.name not in chosen:
                continue
            if manifest is not None and stage.name in again:
                self.store.forget(stage.name, key)
                manifest = None
            label = f"[{number:2d}/{len(self.stages)}] {stage.name}"
            if manifest is not None:
                self.say(f"{label}: done before ({manifest['seconds']:.1f} s)")
                record.append(Done(stage.name, key, manifest["seconds"], True, manifest["facts"]))
                continue
            self.say(f"{label} ...")
            inputs = {local: (name, self.keys[name]) for local, name in stage.inputs.items()}
            manifest = (perform if stage.on_driver else self.submit)(self.store, stage, key, inputs)
            rows = manifest["facts"].get("rows")
            self.say(f"{label}: {manifest['seconds']:.1f} s" + (f", {rows:,} rows" if isinstance(rows, int) else ""))
            record.append(Done(stage.name, key, manifest["seconds"], False, manifest["facts"]))
        return record
