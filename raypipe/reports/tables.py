"""Rows of the report: our values over seeds, the published ones beside them."""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import Any

import numpy as np

from raypipe.backbones import registry
from raypipe.evaluation import metrics, significance

TITLES = {"base": "Base", "ift": "IFT", "wo_da": "w/o DA", "wo_pa": "w/o PA", "wo_aa": "w/o AA", "llama4rec": "Llama4Rec"}

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
    return own if own is not None or variant != "ift" else table.get((dataset, "LLaMA", "IFT", metric))


def results(dataset: str, published_as: str, protocol: str, measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per task, backbone, variant and metric, with the value of each seed.

    Args:
        measured: what the stage `evaluate` wrote.
    """
    rows = []
    for own in measured:
        values = own["values"]
        about = {"dataset": dataset, "protocol": protocol, "task": own["task"], "backbone": own["backbone"],
                 "variant": own["variant"], "split": "test", "metric": own["metric"], "mean": float(np.mean(values)),
                 "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}  # fmt: skip
        printed = published(published_as, own["backbone"], own["variant"], own["metric"])
        rows.append({**about, **own, "published": printed})
    return rows


#: how a slicing is called
SLICES = {"history": "length of the user's history", "popularity": "popularity of the target item"}


def sheets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results as the paper prints them: a table for each task, its backbones one below the other.

    A sheet has `task`, `metrics`, `groups`, one a backbone, see `_group`, and `gain`, the mean of the gains in all its cells;
    beside it `claimed`, which the paper gives as such a mean (L42).
    """
    tested = [r for r in rows if r["variant"] == "llama4rec"]
    corrected = dict(zip([id(r) for r in tested], significance.holm([r["p"] for r in tested]), strict=True))
    made = []
    for task in dict.fromkeys(r["task"] for r in rows):
        of_task = [r for r in rows if r["task"] == task]
        groups = [
            _group([r for r in of_task if r["backbone"] == backbone], corrected)
            for backbone in dict.fromkeys(r["backbone"] for r in of_task)
        ]
        gain = float(np.mean([g for group in groups for g in group["gain"]]))
        names = list(dict.fromkeys(r["metric"] for r in of_task))
        made.append({"task": task, "metrics": names, "groups": groups, "gain": gain, "claimed": CLAIMED[task]})
    return made


def _group(own: list[dict[str, Any]], corrected: dict[int, float]) -> dict[str, Any]:
    """What a sheet shows of a backbone.

    `lines`: variant and cells; a cell is a row with `best`, and `star` where Llama4Rec is above the better baseline and p at most
    0.05. For Llama4Rec over that baseline `gain` (a share, larger is better), `p` (Holm over all cells of the report) and
    `detectable`.
    `oracle`: what the best order of its candidates would reach; None in rating prediction.
    `slices`: of each slicing the thirds, with the values of Base and of Llama4Rec.
    """
    cell = {(r["variant"], r["metric"]): r for r in own}
    variants, names = list(dict.fromkeys(v for v, _ in cell)), list(dict.fromkeys(m for _, m in cell))
    lines = []
    for variant in variants:
        cells = []
        for m in names:
            best = (min if m in metrics.RATING else max)(cell[v, m]["mean"] for v in variants)
            row = cell[variant, m]
            star = variant == "llama4rec" and _gain(row, cell[row["against"], m]) > 0 and corrected[id(row)] <= 0.05
            cells.append({**row, "best": row["mean"] == best, "star": star})
        lines.append({"variant": TITLES[variant], "cells": cells})
    ours = [cell["llama4rec", m] for m in names]
    main = "RMSE" if "RMSE" in names else "N@5"
    base, full = cell["base", main]["slices"], cell["llama4rec", main]["slices"]
    return {
        "backbone": registry.title(own[0]["backbone"]),
        "n_users": own[0]["n_users"],
        "lines": lines,
        "gain": [_gain(r, cell[r["against"], r["metric"]]) for r in ours],
        "p": [corrected[id(r)] for r in ours],
        "detectable": [r["detectable"] for r in ours],
        "oracle": ours[0].get("oracle"),
        "slice_metric": main,
        "slices": {SLICES[by]: {t: (value, full[by][t]) for t, value in thirds.items()} for by, thirds in base.items()},
    }


def _gain(ours: dict[str, Any], baseline: dict[str, Any]) -> float:
    """Relative improvement, also of errors (L40)."""
    change = (ours["mean"] - baseline["mean"]) / baseline["mean"] if baseline["mean"] else 0.0
    return -change if ours["metric"] in metrics.RATING else change


def markdown(made: list[dict[str, Any]], run: dict[str, Any]) -> str:
    """The sheets as Markdown; in brackets what the paper prints."""
    lines = [
        f"# {run['dataset']}: does the LLM help?",
        "",
        f"Protocol `{run['protocol']}`, {run['seeds']} seed(s), commit {run['commit']}, {run['finished']}.",
        "Full ranking, chosen on validation, test read once. In brackets: the paper's value.",
        "*: p at most 0.05 (paired over users and seeds, Holm over all cells)." + significance.caution(run["seeds"]),
    ]
    for sheet in made:
        head = ["backbone", "", *sheet["metrics"]]
        lines += ["", f"## {sheet['task']}", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        for group in sheet["groups"]:
            for line in group["lines"]:
                cells = [cell_text(c, run["seeds"] > 1) for c in line["cells"]]
                lines.append(f"| {group['backbone']} | {line['variant']} | {' | '.join(cells)} |")
            for name, form in (("gain", "+.1%"), ("p", ".3f"), ("detectable", ".4f")):
                lines.append(f"| | {name} | {' | '.join(format(v, form) for v in group[name])} |")
            if group["oracle"] is not None:
                oracle = f"{group['oracle']:.4f}"
                lines.append(f"| | best order of the same candidates | {' | '.join([oracle] * len(sheet['metrics']))} |")
        lines += ["", f"Mean gain: {sheet['gain']:+.1%}. The paper claims {sheet['claimed']:+.2%} over all its datasets."]
    return "\n".join(lines) + "\n"


def cell_text(cell: dict[str, Any], spread: bool) -> str:
    """Mean, spread, star, and in brackets the published value."""
    text = f"{cell['mean']:.4f}" + (f" ± {cell['std']:.4f}" if spread else "") + ("*" if cell["star"] else "")
    return text + (f" ({cell['published']:.4f})" if cell["published"] is not None else "")


def summary(made: list[dict[str, Any]]) -> str:
    """The sheets as text for a terminal."""
    lines = []
    for sheet in made:
        for group in sheet["groups"]:
            lines.append(f"{sheet['task']} / {group['backbone']} ({group['n_users']} users)")
            lines.append("  " + f"{'':12s}" + "".join(f"{m:>10s}" for m in sheet["metrics"]))
            for line in group["lines"]:
                lines.append("  " + f"{line['variant']:12s}" + "".join(f"{c['mean']:10.4f}" for c in line["cells"]))
            lines.append("  " + f"{'gain':12s}" + "".join(f"{g:+10.1%}" for g in group["gain"]))
    return "\n".join(lines)
