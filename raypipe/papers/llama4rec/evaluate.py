"""The test set, read once: predictions of base, ift and llama4rec, and their metrics."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from raypipe import aggregation
from raypipe.cluster import session
from raypipe.config import RunConfig
from raypipe.evaluation import metrics, significance, slices
from raypipe.papers.llama4rec.asks import Histories
from raypipe.papers.llama4rec.choose import coefficients
from raypipe.papers.llama4rec.generation import answers
from raypipe.papers.llama4rec.ranks import llm_scores, values
from raypipe.papers.llama4rec.training import tables
from raypipe.pipeline.stage import Context
from raypipe.schema import ITEM, USER

VARIANTS = ("base", "ift", "llama4rec")


def evaluate(ctx: Context, config: RunConfig) -> dict[str, Any]:
    """TASK.BACKBONE.VARIANT.parquet for every variant, metrics.json with means, per-slice means and tests."""
    return session.in_worker(_evaluate, ctx, config)


def _evaluate(ctx: Context, config: RunConfig) -> dict[str, Any]:
    source = tables(ctx)
    past = Histories(source)
    numbers = {item: n for n, item in enumerate(source.items)}
    chosen: dict[str, Any] = {}
    said: dict[str, pd.DataFrame] = {}
    rejected: Counter[str] = Counter()
    for variant in ("ift", "llama4rec"):
        read = json.loads((ctx.input(f"chosen/{variant}") / "chosen.json").read_text())
        chosen[variant] = {c["backbone"]: c for c in read}
        parts = []
        for wave in (variant, f"{variant}-pointwise"):
            asked = answers(ctx, f"prompts/{wave}", f"completions/{wave}")
            frame, kinds = values(asked)
            rejected.update(kinds)
            parts.append(frame)
        frame = pd.concat(parts, ignore_index=True)
        said[variant] = frame[frame["split"] == "test"]
    results, rows = [], 0
    for task in config.tasks:
        for backbone in config.backbones[task]:
            if task == "rating":
                frames = _rating(ctx, backbone, chosen, said, past)
            else:
                frames = _ranking(ctx, config, task, backbone, chosen, said, past, numbers)
            results += _measure(task, backbone, frames, past)
            for variant, frame in frames.items():
                frame.to_parquet(ctx.out / f"{task}.{backbone}.{variant}.parquet", index=False)
                rows += len(frame)
    (ctx.out / "metrics.json").write_text(json.dumps(results, indent=1))
    return {"rows": rows, "rejected": dict(rejected)}


def _own(said: pd.DataFrame, task: str, backbone: str, template: str) -> pd.DataFrame:
    return said[(said["backbone"] == backbone) & (said["task"] == task) & (said["template"] == template)]


def _rating(ctx: Context, backbone: str, chosen: Any, said: Any, past: Histories) -> dict[str, pd.DataFrame]:
    frames = {}
    for variant, model in (("base", "base"), ("ift", "base"), ("llama4rec", "augmented")):
        frame = pd.read_parquet(ctx.input(f"{model}/{backbone}") / "predictions.parquet")
        frame = frame[frame["split"] == "test"].drop(columns="split").sort_values(USER, kind="stable")
        frame = frame.astype({"prediction": float, "truth": float})  # metrics are taken from what the file holds, to the last bit
        if variant != "base":
            own = _own(said[variant], "rating", backbone, "pointwise")[[USER, "value"]]
            frame = frame.merge(own, on=USER, how="left")
            frame["rec"], frame["llm"] = frame["prediction"], frame["value"].fillna(frame["prediction"])
            frame = frame.drop(columns="value")
            choice = chosen[variant][backbone]
            alpha = np.ones(len(frame))
            if variant == "llama4rec":
                ell, low, high = coefficients(past, "rating", frame[USER])
                alpha = aggregation.llm_weight(ell, low, high, choice["alpha_1"], choice["alpha_2"])
            frame["alpha"] = alpha
            frame["prediction"] = aggregation.blend_ratings(frame["llm"].to_numpy(), frame["rec"].to_numpy(), alpha)
        frames[variant] = frame
    return frames


def _ranking(
    ctx: Context, config: RunConfig, task: str, backbone: str, chosen: Any, said: Any, past: Histories, numbers: dict[str, int]
) -> dict[str, pd.DataFrame]:
    k = config.rerank.k_prime
    frames = {}
    for variant, model in (("base", "base"), ("ift", "base"), ("llama4rec", "augmented")):
        lists = pd.read_parquet(ctx.input(f"{model}/{backbone}") / "lists.parquet")
        lists = lists[lists["split"] == "test"].sort_values(USER, kind="stable").reset_index(drop=True)
        items = np.stack([np.asarray(i)[:k] for i in lists["items"]])
        scores = np.stack([np.asarray(s)[:k] for s in lists["scores"]]).astype(float)
        rec = np.broadcast_to(np.arange(1, k + 1), items.shape)
        columns = {USER: np.repeat(lists[USER].to_numpy(), k), ITEM: items.ravel()}
        if variant == "base":
            columns |= {"rank": rec.ravel(), "score": scores.ravel()}
        else:
            choice = chosen[variant][backbone]
            value = llm_scores(lists, _own(said[variant], task, backbone, choice["ranking"]), numbers, k)
            llm = aggregation.positions(value)
            if variant == "ift":
                columns |= {"rank": llm.ravel(), "score": value.ravel(), "rank_rec": rec.ravel(), "rank_llm": llm.ravel()}
            else:
                ell, low, high = coefficients(past, task, lists[USER])
                alpha = aggregation.llm_weight(ell, low, high, choice["alpha_1"], choice["alpha_2"])
                final = aggregation.blend_ranks(llm, alpha)
                utility = -alpha[:, None] * llm - (1 - alpha[:, None]) * rec
                columns |= {"rank": final.ravel(), "score": utility.ravel(), "rank_rec": rec.ravel(), "rank_llm": llm.ravel(),
                            "alpha": np.repeat(alpha, k)}  # fmt: skip
        columns["target"] = np.repeat(lists["target"].to_numpy(), k)
        frames[variant] = pd.DataFrame(columns).sort_values([USER, "rank"], kind="stable").reset_index(drop=True)
    return frames


def _per_user(task: str, frame: pd.DataFrame) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Users, and their value of each metric; for ratings the squared and absolute errors."""
    if task == "rating":
        error = (frame["prediction"] - frame["truth"]).to_numpy(float)
        return frame[USER].to_numpy(), {"RMSE": error**2, "MAE": np.abs(error)}
    users = frame[USER].drop_duplicates().to_numpy()
    hits = frame[frame[ITEM] == frame["target"]].set_index(USER)["rank"]
    rank = hits.reindex(users).fillna(0).to_numpy(int)
    return users, metrics.ranking(rank)


def _mean(metric: str, values_U: np.ndarray) -> float:
    """The reported value: a mean over users; RMSE is the root of the mean squared error."""
    mean = float(np.mean(values_U))
    return mean**0.5 if metric == "RMSE" else mean


def _measure(task: str, backbone: str, frames: dict[str, pd.DataFrame], past: Histories) -> list[dict[str, Any]]:
    of = {variant: _per_user(task, frame) for variant, frame in frames.items()}
    users = of["base"][0]
    assert all((u == users).all() for u, _ in of.values())
    lengths = past.rated if task == "rating" else past.topk_train
    group = slices.by_length(np.array([len(lengths[u].items) if u in lengths else 0 for u in users]))
    rows = []
    for metric in of["base"][1]:
        lower = metric in metrics.RATING
        baseline = (min if lower else max)(("base", "ift"), key=lambda v: _mean(metric, of[v][1][metric]))
        for variant in VARIANTS:
            value = of[variant][1][metric]
            row: dict[str, Any] = {"task": task, "backbone": backbone, "variant": variant, "metric": metric,
                                   "value": _mean(metric, value), "n_users": len(users),
                                   "slices": {n: _mean(metric, value[group == g]) for g, n in enumerate(slices.NAMES)
                                              if (group == g).any()}}  # fmt: skip
            if variant == "llama4rec":
                test = significance.paired(value, of[baseline][1][metric])
                row |= {"against": baseline, "p": test.p, "effect": -test.effect if lower else test.effect}
            rows.append(row)
    return rows
