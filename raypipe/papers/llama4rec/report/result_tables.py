"""Rows of the report: our values over seeds, the published ones beside them."""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import Any

import numpy as np

from raypipe.backbones import registry
from raypipe.evaluation import metrics, significance

TITLES = {
    "base": "Base",
    "ift": "IFT",
    "wo_da": "w/o DA",
    "wo_pa": "w/o PA",
    "wo_aa": "w/o AA",
    "llama4rec": "Llama4Rec",
}

#: the mean improvements that the paper claims over all its datasets: direct and sequential over the better of Base and IFT, rating
#: over Base (L42)
CLAIMED = {"direct": 0.1465, "sequential": 0.1421, "rating": 0.0310}


@functools.cache
def _published() -> dict[tuple[str, str, str, str], float]:
    with open(Path(__file__).parent / "published.csv", newline="") as stream:
        return {
            (r["dataset"], r["backbone"], r["variant"], r["metric"]): float(r["value"])
            for r in csv.DictReader(stream)
            if r["table"] in ("II", "IV", "V", "VI")
        }


def published(dataset: str, backbone: str, variant: str, metric: str) -> float | None:
    """The value that Llama4Rec prints (Tables II, IV, V, VI), or None. IFT of the rating task is one row, "LLaMA"."""
    table, name = _published(), registry.title(backbone)
    own = table.get((dataset, name, TITLES[variant], metric))
    return (
        own if own is not None or variant != "ift" else table.get((dataset, "LLaMA", "IFT", metric))
    )


def results(
    dataset: str, published_as: str, protocol: str, measured: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """One row per task, backbone, variant and metric, with the value of each seed.

    Args:
        measured: what the stage `evaluate` wrote.
    """
    rows = []
    for own in measured:
        values = own["values"]
        about = {
            "dataset": dataset,
            "protocol": protocol,
            "task": own["task"],
            "backbone": own["backbone"],
            "variant": own["variant"],
            "split": "test",
            "metric": own["metric"],
            "mean": float(np.mean(values)),
            "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        }
        printed = published(published_as, own["backbone"], own["variant"], own["metric"])
        rows.append({**about, **own, "published": printed})
    return rows


#: the metric of each task that slices are shown of
MAIN = ("N@5", "RMSE")

#: what is compared between the first and the last third of users (L4): the values of a variant, or its gain over Base
TAILS = {"Base": ("base", "level"), "IFT": ("ift", "level"), "gain": ("llama4rec", "gain")}

#: how a slicing is called
SLICES = {"history": "length of history", "popularity": "popularity of target"}


def sheets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results as the paper prints them: a table for each task, its backbones one below the other.

    A sheet has `task`, `metrics`, `groups`, one a backbone, see `_group`, and `gain`, the mean of the gains in all its cells;
    beside it `claimed`, which the paper gives as such a mean (L42). `tails`: the names of `TAILS` that it shows.
    """
    tested = [r for r in rows if r["variant"] == "llama4rec"]
    corrected = dict(
        zip([id(r) for r in tested], significance.holm([r["p"] for r in tested]), strict=True)
    )
    shown = [told for r in rows if r["metric"] in MAIN for told in _tails(r).values()]
    corrected |= dict(
        zip(map(id, shown), significance.holm([told["p"] for told in shown]), strict=True)
    )
    made = []
    for task in dict.fromkeys(r["task"] for r in rows):
        of_task = [r for r in rows if r["task"] == task]
        groups = [
            _group([r for r in of_task if r["backbone"] == backbone], corrected)
            for backbone in dict.fromkeys(r["backbone"] for r in of_task)
        ]
        gain = float(np.mean([g for group in groups for g in group["gain"]]))
        names = list(dict.fromkeys(r["metric"] for r in of_task))
        tails = [
            name
            for name, (variant, _) in TAILS.items()
            if any(r["variant"] == variant for r in of_task)
        ]
        made.append(
            {
                "task": task,
                "metrics": names,
                "groups": groups,
                "gain": gain,
                "claimed": CLAIMED[task],
                "tails": tails,
            }
        )
    return made


def _group(own: list[dict[str, Any]], corrected: dict[int, float]) -> dict[str, Any]:
    """What a sheet shows of a backbone.

    `lines`: variant and cells; a cell is a row with `best`, and `star` where Llama4Rec is above the better baseline and p at most
    0.05. For Llama4Rec over that baseline `gain` (a share, larger is better), `p` (Holm over all cells of the report), `effect`
    (Cohen's d of the users' differences) and `detectable`.
    `oracle`: what the best order of its candidates would reach; None in rating prediction.
    `slices`: of each slicing the thirds, with the values of Base and of Llama4Rec.
    `tails`: of each slicing, by the names of `TAILS`, the difference of the first third from the last and its p (Holm over all of
    them in the report).
    """
    cell = {(r["variant"], r["metric"]): r for r in own}
    variants, names = (
        list(dict.fromkeys(v for v, _ in cell)),
        list(dict.fromkeys(m for _, m in cell)),
    )
    lines = []
    for variant in variants:
        cells = []
        for m in names:
            best = (min if m in metrics.RATING else max)(cell[v, m]["mean"] for v in variants)
            row = cell[variant, m]
            star = (
                variant == "llama4rec"
                and _gain(row, cell[row["against"], m]) > 0
                and corrected[id(row)] <= 0.05
            )
            cells.append({**row, "best": row["mean"] == best, "star": star})
        lines.append({"variant": TITLES[variant], "cells": cells})
    ours = [cell["llama4rec", m] for m in names]
    main = next(m for m in names if m in MAIN)
    base, full = cell["base", main]["slices"], cell["llama4rec", main]["slices"]
    tails: dict[str, dict[str, tuple[float, float]]] = {}
    for variant in variants:
        for (by, name), told in _tails(cell[variant, main]).items():
            tails.setdefault(SLICES[by], {})[name] = (told["difference"], corrected[id(told)])
    return {
        "backbone": registry.title(own[0]["backbone"]),
        "n_users": own[0]["n_users"],
        "lines": lines,
        "gain": [_gain(r, cell[r["against"], r["metric"]]) for r in ours],
        "p": [corrected[id(r)] for r in ours],
        "effect": [r["effect"] for r in ours],
        "detectable": [r["detectable"] for r in ours],
        "oracle": ours[0].get("oracle"),
        "slice_metric": main,
        "slices": {
            SLICES[by]: {t: (value, full[by][t]) for t, value in thirds.items()}
            for by, thirds in base.items()
        },
        "tails": tails,
    }


def _tails(row: dict[str, Any]) -> dict[tuple[str, str], dict[str, float]]:
    """(slicing, name of `TAILS`) -> what the row tells of its first third against its last."""
    wanted = [
        (name, kind) for (name, (variant, kind)) in TAILS.items() if variant == row["variant"]
    ]
    return {
        (by, name): told[kind] for by, told in row.get("tails", {}).items() for name, kind in wanted
    }


def _gain(ours: dict[str, Any], baseline: dict[str, Any]) -> float:
    """Relative improvement, also of errors (L40)."""
    change = (ours["mean"] - baseline["mean"]) / baseline["mean"] if baseline["mean"] else 0.0
    return -change if ours["metric"] in metrics.RATING else change
