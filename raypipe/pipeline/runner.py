"""Runs stages in order, skipping those whose artifact is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raypipe.errors import ConfigError
from raypipe.pipeline import remaining
from raypipe.pipeline.stage import Context, Stage
from raypipe.pipeline.store import Store


@dataclass(frozen=True)
class Done:
    """One line of a run's record; `seconds` of a stage that was killed and went on are those of its last part."""

    name: str
    key: str
    seconds: float
    cached: bool
    facts: dict[str, Any]
    resumed: bool = False


@dataclass(frozen=True)
class Planned:
    """A stage with its key and whether its artifact is there."""

    stage: Stage
    key: str
    cached: bool


#: one call of `perform`: store, stage, key, and the stage and key of each input
Job = tuple[Store, Stage, str, dict[str, tuple[str, str]]]


def perform(
    store: Store, stage: Stage, key: str, inputs: dict[str, tuple[str, str]]
) -> dict[str, Any]:
    """Run one body and commit its output; may be called in any process that reaches the store."""
    started = time.time()
    manifest: dict[str, Any] = {
        "name": stage.name,
        "key": key,
        "config": stage.config,
        "inputs": inputs,
    }
    manifest["resumed"] = store.has_scratch(stage.name, key)
    with store.writing(stage.name, key, manifest) as out:
        facts = (
            stage.run(Context(store, stage.name, key, out, store.scratch(stage.name, key), inputs))
            or {}
        )
        manifest["facts"] = facts
        manifest["seconds"] = time.time() - started
    return manifest


def perform_missing(
    store: Store, stage: Stage, key: str, inputs: dict[str, tuple[str, str]]
) -> None:
    """`perform`, unless the artifact is there: a trainer that was lost is given all its jobs again."""
    if store.manifest(stage.name, key) is None:
        perform(store, stage, key, inputs)


def one_by_one(jobs: Sequence[Job], of: int) -> None:
    """Perform jobs in this process; what stands in for trainers where there is no cluster."""
    for job in jobs:
        perform(*job)


class Runner:
    """Runs a list of stages, each after its inputs.

    Args:
        stages: in an order in which every input comes before its use.
        store: where artifacts live.
        submit: runs `perform` for a stage whose place is a worker.
        train: performs the jobs of stages whose place is a trainer, side by side, the longest first as far as is known; gets also
            how many such stages there are in all.
        say: prints progress.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        store: Store,
        submit: Callable[..., dict[str, Any]] = perform,
        train: Callable[[Sequence[Job], int], None] = one_by_one,
        say: Callable[[str], None] = print,
    ) -> None:
        self.stages, self.store, self.submit, self.train, self.say = (
            list(stages),
            store,
            submit,
            train,
            say,
        )
        self.keys: dict[str, str] = {}
        for stage in self.stages:
            absent = set(stage.inputs.values()) - set(self.keys)
            assert not absent, f"{stage.name} needs {absent} before it"
            assert stage.name not in self.keys, f"two stages are called {stage.name}"
            self.keys[stage.name] = stage.key(self.keys)

    def plan(self) -> list[Planned]:
        """Every stage with its key and whether it is done."""
        return [
            Planned(
                s, self.keys[s.name], self.store.manifest(s.name, self.keys[s.name]) is not None
            )
            for s in self.stages
        ]

    def matching(self, name: str, option: str) -> set[str]:
        """Names of the stages that `name` selects: a whole name, or the part after the seed."""
        chosen = {s.name for s in self.stages if name in (s.name, s.name.partition("/")[2])}
        if not chosen:
            raise ConfigError(
                f"there is no stage {name!r}",
                option,
                f"choose one of {', '.join(s.name for s in self.stages)}",
            )
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
        for stage in self.stages:
            if stage.name in chosen & again:
                self.store.forget(stage.name, self.keys[stage.name])
        found = {
            s.name: manifest for s in self.stages if (manifest := self._manifest(s)) is not None
        }
        there = set(found)
        passed, worked = (
            0.0,
            0.0,
        )  # in trainers: by the clock, and added up over those that run side by side
        record: list[Done] = []
        for number, stage in enumerate(self.stages):
            if stage.name not in chosen:
                continue
            fresh = [stage] if stage.name not in found else []
            if fresh and stage.place == "trainer":
                later = [
                    s
                    for s in self.stages[number + 1 :]
                    if s.name in chosen and s.place == "trainer"
                ]
                fresh += [
                    s for s in later if s.name not in found and set(s.inputs.values()) <= set(found)
                ]
            for one in fresh:
                self.say(f"{self._label(one)} ...")
            if fresh and stage.place == "trainer":
                began = time.monotonic()
                order = remaining.longest_first(fresh, self._seconds(found))
                self.train(
                    [self._job(s) for s in order], sum(s.place == "trainer" for s in self.stages)
                )
                passed += time.monotonic() - began
            elif fresh:
                (perform if stage.place == "driver" else self.submit)(*self._job(stage))
            found |= {s.name: self._finished(s) for s in fresh}
            worked += sum(found[s.name]["seconds"] for s in fresh if s.place == "trainer")
            facts, seconds = found[stage.name]["facts"], found[stage.name]["seconds"]
            cached, told = stage.name in there, f"{seconds:.1f} s"
            if cached:
                told = f"done before ({told})"
            else:
                told += f", {facts['rows']:,} rows" if isinstance(facts.get("rows"), int) else ""
                left = self._remaining(chosen, found, remaining.overlap(passed, worked))
                told += f"; {left}" if left else ""
            self.say(f"{self._label(stage)}: {told}")
            record.append(
                Done(
                    stage.name,
                    self.keys[stage.name],
                    seconds,
                    cached,
                    facts,
                    found[stage.name].get("resumed", False),
                )
            )
        return record

    def _remaining(self, chosen: set[str], found: dict[str, dict[str, Any]], overlap: float) -> str:
        """How long the rest of the chosen stages may take, in words; `found`: the manifest of every finished stage."""
        missing = [s for s in self.stages if s.name in chosen - set(found)]
        return remaining.told(remaining.remaining(missing, self._seconds(found), overlap))

    def _seconds(self, found: dict[str, dict[str, Any]]) -> list[tuple[Stage, float]]:
        return [(s, found[s.name]["seconds"]) for s in self.stages if s.name in found]

    def _finished(self, stage: Stage) -> dict[str, Any]:
        manifest = self._manifest(stage)
        assert manifest is not None, f"{stage.name} ran and left nothing"
        return manifest

    def _manifest(self, stage: Stage) -> dict[str, Any] | None:
        return self.store.manifest(stage.name, self.keys[stage.name])

    def _job(self, stage: Stage) -> Job:
        inputs = {local: (name, self.keys[name]) for local, name in stage.inputs.items()}
        return self.store, stage, self.keys[stage.name], inputs

    def _label(self, stage: Stage) -> str:
        return f"[{self.stages.index(stage) + 1:2d}/{len(self.stages)}] {stage.name}"
