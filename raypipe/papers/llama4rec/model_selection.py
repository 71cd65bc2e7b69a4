"""Choosing on validation: alpha_1, alpha_2 by a Ray Tune grid, and pointwise or listwise (L39, L41, LO4)."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from raypipe.cluster import session, tune
from raypipe.evaluation import metrics
from raypipe.papers.llama4rec import aggregation
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.learned_weight import cross_fitted, learn
from raypipe.papers.llama4rec.llm_scores import candidates, utilities, values
from raypipe.papers.llama4rec.prompt_requests import Histories
from raypipe.papers.llama4rec.prompts import Part, pointwise_asks, prompts_of, tables
from raypipe.papers.llama4rec.variants import WAVES
from raypipe.pipeline.stage import Context
from raypipe.schema import USER
from raypipe.steps.completions import answers

RANKINGS = ("listwise", "pointwise")
#: standard errors by which pointwise must be ahead: one (Breiman et al., 1984) took the worse one by chance, see docs/results.md
CERTAIN = 2


def choose(ctx: Context, config: Llama4RecConfig, variant: str) -> dict[str, Any]:
    """chosen.json: per backbone the ranking and, for variants that mix, alpha_1, alpha_2 and the whole grid.

    One choice for all seeds, by the mean over them of the value on validation. Inputs: prompts, completions, model/SEED/NAME.
    Only validation rows are read.
    """
    cases = session.in_worker(_cases, ctx, config)
    weights: dict[str, Any] = {}
    if WAVES[variant].mixed:
        grid = tune.grid(
            _evaluate_weights,
            {
                "alpha_1": list(config.aggregation.alpha_1),
                "alpha_2": list(config.aggregation.alpha_2),
            },
            cases,
            ctx.scratch,
        )
        for name in {c["name"] for c in cases}:
            weights[name] = [
                {"alpha_1": g["alpha_1"], "alpha_2": g["alpha_2"], "value": g[name]} for g in grid
            ]
    chosen = _decide(
        cases, weights, config.aggregation.alpha_1, config.aggregation.weight == "learned"
    )
    (ctx.out / "chosen.json").write_text(json.dumps(chosen, indent=1))
    return {
        "rows": len(chosen),
        "chosen": {c["backbone"]: [c["ranking"], c["alpha_1"], c["alpha_2"]] for c in chosen},
    }


def _cases(ctx: Context, config: Llama4RecConfig) -> list[dict[str, Any]]:
    """Arrays of validation users for each backbone and ranking; some thousand numbers each."""
    source = tables(ctx)
    past = Histories(source)
    numbers = {item: n for n, item in enumerate(source.items)}
    asked = answers(ctx, "prompts", "completions")
    said, _ = values(asked[asked["prompt_id"].str.contains("/validation/")])
    cases = []
    for task in config.tasks:
        for backbone, seed in itertools.product(config.backbones[task], config.repetitions):
            own = said[
                (said["seed"] == seed) & (said["backbone"] == backbone) & (said["task"] == task)
            ]
            if task == "rating":
                frame = pd.read_parquet(
                    ctx.input(f"model/{seed}/{backbone}") / "predictions.parquet"
                )
                frame = frame[frame["split"] == "validation"].merge(
                    own[["user_id", "value"]], on=USER, how="left"
                )
                llm = frame["value"].fillna(frame["prediction"]).to_numpy(float)
                cases.append(
                    _case(task, backbone, "pointwise", past, frame[USER], config)
                    | {
                        "rec": frame["prediction"].to_numpy(float),
                        "llm": llm,
                        "truth": frame["truth"].to_numpy(float),
                    }
                )
                continue
            lists = pd.read_parquet(ctx.input(f"model/{seed}/{backbone}") / "lists.parquet")
            lists = lists[lists["split"] == "validation"]
            compared = set(own.loc[own["template"] == "pointwise", USER])
            for ranking in RANKINGS:
                of = own[own["template"] == ranking]
                if not len(of):
                    continue
                # listwise answers all users; pointwise some, and on these the two are compared
                for scope, part in (
                    ("all", lists),
                    ("compared", lists[lists[USER].isin(compared)]),
                ):
                    if (ranking == "pointwise" and scope == "all") or not len(part):
                        continue
                    items, _ = candidates(part, config.k_prime)
                    llm, rec = utilities(part, of, numbers, config)
                    cases.append(
                        _case(task, backbone, ranking, past, part[USER], config, scope)
                        | {
                            "at": metrics.target_ranks(part["target"].to_numpy(), items),
                            "llm": llm,
                            "rec": rec,
                        }
                    )
    return cases


def _case(
    task: str,
    backbone: str,
    ranking: str,
    past: Histories,
    users: pd.Series,
    config: Llama4RecConfig,
    scope: str = "all",
) -> dict[str, Any]:
    ell, low, high = coefficients(past, task, users)
    return {
        "name": f"{task}.{backbone}.{ranking}.{scope}",
        "task": task,
        "backbone": backbone,
        "ranking": ranking,
        "scope": scope,
        "ell": ell,
        "range": (low, high),
    }


def coefficients(past: Histories, task: str, users: pd.Series) -> tuple[np.ndarray, float, float]:
    """[U] eq. 4 of `users` from training interactions (LO21), and its range over all training users."""
    source = past.rated if task == "rating" else past.topk_train
    everyone = aggregation.long_tail_coefficient(np.array([len(p.items) for p in source.values()]))
    own = aggregation.long_tail_coefficient(
        np.array([len(source[u].items) if u in source else 0 for u in users])
    )
    return own, float(everyone.min()), float(everyone.max())


def quality(case: dict[str, Any], alpha: np.ndarray | None) -> float:
    """N@5, or minus RMSE, of a case: the LLM alone where alpha is None, else aggregated with alpha [U]."""
    if case["task"] == "rating":
        mixed = (
            case["llm"]
            if alpha is None
            else aggregation.blend_ratings(case["llm"], case["rec"], alpha)
        )
        return -metrics.rating(mixed, case["truth"])["RMSE"]
    return float(gains(case, alpha).mean())


def gains(case: dict[str, Any], alpha: np.ndarray | None) -> np.ndarray:
    """[U] N@5 of each user's list."""
    final = aggregation.positions(
        case["llm"] if alpha is None else aggregation.mixed(case["llm"], case["rec"], alpha)
    )
    at = case["at"]
    return metrics.ndcg(np.where(at > 0, final[np.arange(len(at)), np.maximum(at - 1, 0)], 0), 5)


def weight(case: dict[str, Any], point: dict[str, Any]) -> np.ndarray | None:
    """[U] eq. 5 at a point of the grid; None where the LLM alone decides."""
    if point["alpha_1"] is None:
        return None
    low, high = case["range"]
    return aggregation.llm_weight(case["ell"], low, high, point["alpha_1"], point["alpha_2"])


def _evaluate_weights(point: dict[str, float], cases: list[dict[str, Any]]) -> dict[str, float]:
    of_seeds: dict[str, list[float]] = {}
    for case in cases:
        of_seeds.setdefault(case["name"], []).append(quality(case, weight(case, point)))
    return {name: float(np.mean(values)) for name, values in of_seeds.items()}


def _decide(
    cases: list[dict[str, Any]],
    weights: dict[str, list[dict[str, float]]],
    uniform: Sequence[float] = (),
    learned: bool = False,
) -> list[dict[str, Any]]:
    """The ranking, then its best weights; equal values go to the smaller weights.

    Pointwise asks k' questions for one and is compared on few users, so it is chosen where it is better by more than CERTAIN
    standard errors of the difference; else listwise.

    Args:
        cases: those of a backbone stand together, one for each seed, ranking and scope.
        weights: name of a case -> grid with the mean value over seeds; empty where the LLM alone decides.
        uniform: weights for all users alike, of which the best for the chosen ranking is found too (L26).
        learned: mix by the learnt weights, and not by the best of eq. 5; both are fitted and reported in any case.
    """

    def mean(of: list[dict[str, Any]], alpha: float | None) -> float:
        return float(
            np.mean(
                [quality(c, None if alpha is None else np.full(len(c["ell"]), alpha)) for c in of]
            )
        )

    def best_of(of: list[dict[str, Any]]) -> dict[str, Any]:
        if not weights:
            return {"alpha_1": None, "alpha_2": None, "value": mean(of, None)}
        return max(
            weights[of[0]["name"]],
            key=lambda g: (round(g["value"], 9), -g["alpha_1"], -g["alpha_2"]),
        )

    chosen = []
    key: Callable[[dict[str, Any]], tuple[str, str]] = lambda c: (c["task"], c["backbone"])  # noqa: E731
    for (task, backbone), group in itertools.groupby(cases, key=key):
        own: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for case in group:
            own.setdefault((case["ranking"], case["scope"]), []).append(case)
        points = {r: best_of(c) for (r, s), c in own.items() if s == "compared"}
        compared = {r: point["value"] for r, point in points.items()}
        if task == "rating" or set(points) == {"pointwise"}:
            ranking = "pointwise"
        elif len(points) < 2:
            ranking = "listwise"
        else:
            each = {
                r: np.concatenate([gains(c, weight(c, points[r])) for c in own[r, "compared"]])
                for r in RANKINGS
            }
            ahead = each["pointwise"] - each["listwise"]
            ranking = (
                "pointwise"
                if ahead.mean() > CERTAIN * ahead.std(ddof=1) / len(ahead) ** 0.5
                else "listwise"
            )
        decided = own[ranking, "all" if (ranking, "all") in own else "compared"]
        best = best_of(decided)
        values = {alpha: round(mean(decided, alpha), 9) for alpha in uniform} if weights else {}
        everyone = [np.arange(len(case["ell"])) for case in decided]
        mixer = (
            {"b": learn(decided, everyone), "validation": cross_fitted(decided, quality)}
            if weights
            else None
        )
        chosen.append(
            {
                "task": task,
                "backbone": backbone,
                "ranking": ranking,
                "alpha_1": best["alpha_1"],
                "alpha_2": best["alpha_2"],
                "validation": best["value"],
                "mixer": mixer,
                "learned": mixer["b"] if mixer and learned else None,
                "compared": compared,
                "ell_range": decided[0]["range"],
                "uniform": max(values, key=lambda a: (values[a], -a)) if values else None,
                "grid": weights.get(decided[0]["name"], []),
            }
        )
    return chosen


def pointwise_test_prompts(
    ctx: Context, config: Llama4RecConfig, with_hints: bool
) -> dict[str, Any]:
    """prompts/ for the test part of those backbones whose chosen ranking is pointwise; mostly none, and nothing is started then."""
    everything = json.loads((ctx.input("chosen") / "chosen.json").read_text())
    chosen = [c for c in everything if c["task"] != "rating" and c["ranking"] == "pointwise"]
    parts = [
        Part(seed, c["task"], c["backbone"])
        for seed, c in itertools.product(config.repetitions, chosen)
    ]
    return prompts_of(
        ctx, config, parts, functools.partial(pointwise_asks, ctx, config, with_hints)
    )
