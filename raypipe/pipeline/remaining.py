"""How long the rest of a run will take, estimated from similar stages that are done."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean

from raypipe.pipeline.stage import Stage


def kinds(stage: Stage) -> tuple[str, ...]:
    """What makes another stage similar, the closest first.

    The same stage of another seed; the same on other data (NAME@DATA); the same under another path;
    any stage with the same body.
    """
    seed, _, rest = stage.name.partition("/")
    name = rest if seed.startswith("seed") and rest else stage.name
    run = getattr(stage.run, "func", stage.run)
    body = getattr(run, "__name__", type(run).__name__)
    path = name.partition("@")[0]
    return name, f"{body} of {path}", f"{body} of {path.rpartition('/')[2]}", body


def guesses(missing: Iterable[Stage], done: Iterable[tuple[Stage, float]]) -> list[float | None]:
    """Seconds that each missing stage may take; None if no similar stage is done.

    Args:
        done: finished stages with their seconds.
    """
    seconds_of_kind: dict[str, list[float]] = {}
    for stage, seconds in done:
        for kind in kinds(stage):
            seconds_of_kind.setdefault(kind, []).append(seconds)
    estimates: list[float | None] = []
    for stage in missing:
        similar = [seconds_of_kind[kind] for kind in kinds(stage) if kind in seconds_of_kind]
        estimates.append(fmean(similar[0]) if similar else None)
    return estimates


def longest_first(stages: Sequence[Stage], done: Iterable[tuple[Stage, float]]) -> list[Stage]:
    """The order in which parallel stages end soonest; stages without an estimate come first."""
    estimates = guesses(stages, done)
    seconds = [math.inf if estimate is None else estimate for estimate in estimates]
    order = sorted(range(len(stages)), key=lambda number: -seconds[number])
    return [stages[number] for number in order]


def remaining(
    missing: Sequence[Stage], done: Iterable[tuple[Stage, float]], overlap: float = 1.0
) -> tuple[float, bool]:
    """Seconds that the missing stages will take, and whether all of them are counted.

    Args:
        done: finished stages with their seconds.
        overlap: see `overlap`; applies to trainers, as all other stages run alone.
    """
    total, is_complete = 0.0, True
    for stage, seconds in zip(missing, guesses(missing, done), strict=True):
        if seconds is None:
            is_complete = False
        else:
            total += seconds * (overlap if stage.place == "trainer" else 1)
    return total, is_complete


def describe(estimate: tuple[float, bool]) -> str:
    """An estimate of `remaining` in words, e.g. "about 25 min left"; "" below a minute."""
    seconds, is_complete = estimate
    if seconds < 60:
        return ""
    minutes = round(seconds / 60)
    length = f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{'about' if is_complete else 'at least'} {length} left"


def overlap(passed: float, worked: float) -> float:
    """Seconds on the clock for each second that a trainer worked; 1 if none worked yet."""
    return min(1.0, passed / worked) if worked else 1.0
