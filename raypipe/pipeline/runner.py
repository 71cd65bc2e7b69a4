"""Runs stages in order and skips those whose artifact exists."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raypipe.errors import ConfigError
from raypipe.pipeline import remaining
from raypipe.pipeline.stage import Context, Stage
from raypipe.pipeline.store import Store


@dataclass(frozen=True)
class Done:
    """A finished stage of a run.

    Args:
        seconds: how long it took; after an interruption, only since it was resumed.
        cached: an earlier run made its artifact.
        resumed: it continued unfinished work.
    """

    name: str
    key: str
    seconds: float
    cached: bool
    facts: dict[str, Any]
    resumed: bool = False


@dataclass(frozen=True)
class Planned:
    """A stage with its key, and whether its artifact exists."""

    stage: Stage
    key: str
    cached: bool


#: the arguments of `perform`: store, stage, key, and input name -> (stage, key)
Job = tuple[Store, Stage, str, dict[str, tuple[str, str]]]


def perform(
    store: Store, stage: Stage, key: str, inputs: dict[str, tuple[str, str]]
) -> dict[str, Any]:
    """Run a stage's body and commit its output, in any process that reaches the store."""
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
    """`perform`, unless the artifact exists: a lost trainer gets all its jobs again."""
    if store.manifest(stage.name, key) is None:
        perform(store, stage, key, inputs)


def perform_all(jobs: Sequence[Job], total: int) -> None:
    """Perform jobs one after the other in this process, without a cluster."""
    for job in jobs:
        perform(*job)


class Runner:
    """Runs a list of stages, each after its inputs.

    Args:
        stages: in an order in which every input comes before its use.
        store: where artifacts live.
        submit: runs `perform` for stages whose place is "worker".
        train: `train(jobs, total)` performs the jobs of stages whose place is "trainer", in
            parallel, each after those of its inputs that are among them. The longest come first.
            `total`: such stages of the whole run.
        say: prints a line.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        store: Store,
        submit: Callable[..., dict[str, Any]] = perform,
        train: Callable[[Sequence[Job], int], None] = perform_all,
        say: Callable[[str], None] = print,
    ) -> None:
        self.stages, self.store = list(stages), store
        self.submit, self.train, self.say = submit, train, say
        self.keys: dict[str, str] = {}
        for stage in self.stages:
            absent = set(stage.inputs.values()) - set(self.keys)
            assert not absent, f"{stage.name} needs {absent} before it"
            assert stage.name not in self.keys, f"two stages are called {stage.name}"
            self.keys[stage.name] = stage.key(self.keys)

    def plan(self) -> list[Planned]:
        """Every stage with its key, and whether its artifact exists."""
        planned = []
        for stage in self.stages:
            is_cached = self._manifest(stage) is not None
            planned.append(Planned(stage, self.keys[stage.name], is_cached))
        return planned

    def matching(self, name: str, option: str) -> set[str]:
        """Names of the stages that `name` selects: a whole name, or the part after the seed.

        Raises:
            ConfigError: there is no such stage; `option` is the option that named it.
        """
        names = [stage.name for stage in self.stages]
        chosen = {stage for stage in names if name in (stage, stage.partition("/")[2])}
        if not chosen:
            raise ConfigError(
                f"there is no stage {name!r}", option, f"choose one of {', '.join(names)}"
            )
        return chosen

    def run(self, start: str | None = None, only: str | None = None) -> list[Done]:
        """Run the stages whose artifact is missing.

        Args:
            start: run this stage again, with all that depend on it (--from).
            only: run this stage alone, again; its inputs must exist (--only).
        """
        chosen = self._choose(start, only)
        manifests = self._manifests()
        cached = set(manifests)
        clock = _TrainerClock()
        record: list[Done] = []
        for stage in self.stages:
            if stage.name not in chosen:
                continue
            self._perform(self._runnable(stage, chosen, manifests), manifests, clock)
            manifest = manifests[stage.name]
            done = Done(
                stage.name,
                self.keys[stage.name],
                manifest["seconds"],
                stage.name in cached,
                manifest["facts"],
                manifest.get("resumed", False),
            )
            record.append(done)
            missing = [s for s in self.stages if s.name in chosen and s.name not in manifests]
            left = self._remaining(missing, manifests, clock)
            self.say(f"{self._label(stage)}: {_summary(done, left)}")
        return record

    def _choose(self, start: str | None, only: str | None) -> set[str]:
        """Names of the stages to run; removes the artifacts of those that run again."""
        again = self.matching(start, "--from") if start else set()
        for stage in self.stages:
            if again & set(stage.inputs.values()):
                again.add(stage.name)
        chosen = self.matching(only, "--only") if only else set(self.keys)
        if only:
            again |= chosen
        for name in chosen & again:
            self.store.forget(name, self.keys[name])
        return chosen

    def _runnable(
        self, stage: Stage, chosen: set[str], manifests: Mapping[str, dict[str, Any]]
    ) -> list[Stage]:
        """A missing stage; with a trainer, all trainers whose other inputs exist."""
        if stage.name in manifests:
            return []
        runnable = [stage]
        if stage.place != "trainer":
            return runnable
        made = {*manifests, stage.name}
        for later in self.stages[self.stages.index(stage) + 1 :]:
            is_missing = later.name in chosen and later.name not in manifests
            if later.place == "trainer" and is_missing and made.issuperset(later.inputs.values()):
                runnable.append(later)
                made.add(later.name)
        return runnable

    def _perform(
        self, stages: list[Stage], manifests: dict[str, dict[str, Any]], clock: _TrainerClock
    ) -> None:
        """Run one stage, or several trainers in parallel, and add their manifests."""
        for stage in stages:
            self.say(f"{self._label(stage)} ...")
        if stages and stages[0].place == "trainer":
            started = time.monotonic()
            order = _inputs_first(remaining.longest_first(stages, self._seconds(manifests)))
            total = sum(stage.place == "trainer" for stage in self.stages)
            self.train([self._job(stage) for stage in order], total)
            clock.passed += time.monotonic() - started
        else:
            for stage in stages:
                run = perform if stage.place == "driver" else self.submit
                run(*self._job(stage))
        for stage in stages:
            manifest = self._manifest(stage)
            assert manifest is not None, f"{stage.name} ran and left nothing"
            manifests[stage.name] = manifest
            if stage.place == "trainer":
                clock.worked += manifest["seconds"]

    def _remaining(
        self, missing: list[Stage], manifests: Mapping[str, dict[str, Any]], clock: _TrainerClock
    ) -> str:
        """How long the missing stages may take, in words."""
        overlap = remaining.overlap(clock.passed, clock.worked)
        seconds = self._seconds(manifests)
        return remaining.describe(remaining.remaining(missing, seconds, overlap))

    def _seconds(self, manifests: Mapping[str, dict[str, Any]]) -> list[tuple[Stage, float]]:
        """The finished stages with their seconds."""
        finished = [stage for stage in self.stages if stage.name in manifests]
        return [(stage, manifests[stage.name]["seconds"]) for stage in finished]

    def _manifests(self) -> dict[str, dict[str, Any]]:
        """The manifests of all stages whose artifact exists."""
        manifests = {}
        for stage in self.stages:
            manifest = self._manifest(stage)
            if manifest is not None:
                manifests[stage.name] = manifest
        return manifests

    def _manifest(self, stage: Stage) -> dict[str, Any] | None:
        return self.store.manifest(stage.name, self.keys[stage.name])

    def _job(self, stage: Stage) -> Job:
        inputs = {local: (name, self.keys[name]) for local, name in stage.inputs.items()}
        return self.store, stage, self.keys[stage.name], inputs

    def _label(self, stage: Stage) -> str:
        return f"[{self.stages.index(stage) + 1:2d}/{len(self.stages)}] {stage.name}"


def _inputs_first(stages: Sequence[Stage]) -> list[Stage]:
    """The same stages, each after those of its inputs that are among them."""
    left, order = list(stages), list[Stage]()
    while left:
        names = {stage.name for stage in left}
        ready = next(stage for stage in left if names.isdisjoint(stage.inputs.values()))
        left.remove(ready)
        order.append(ready)
    return order


@dataclass
class _TrainerClock:
    """Seconds that trainers took: on the clock, and added up over those that ran in parallel."""

    passed: float = 0.0
    worked: float = 0.0


def _summary(done: Done, left: str) -> str:
    """What a finished stage prints, e.g. "3.1 s, 40 rows; about 2 min left"."""
    seconds = f"{done.seconds:.1f} s"
    if done.cached:
        return f"done before ({seconds})"
    rows = done.facts.get("rows")
    counted = f", {rows:,} rows" if isinstance(rows, int) else ""
    return f"{seconds}{counted}" + (f"; {left}" if left else "")
