"""Choosing on validation: alpha_1, alpha_2 by a Ray Tune grid, and pointwise or listwise (L39, L41,
LO4).

U = validation users, K = k', the length of the re-ranked list.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from raypipe.cluster import session, tune
from raypipe.evaluation import metrics
from raypipe.papers.llama4rec import aggregation
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.histories import Histories
from raypipe.papers.llama4rec.learned_weight import cross_fitted, learn
from raypipe.papers.llama4rec.llm_scores import (
    RANKINGS,
    Ranking,
    candidates,
    llm_scores,
    utilities,
)
from raypipe.papers.llama4rec.prompts import Part, pointwise_test, render_requests, tables
from raypipe.papers.llama4rec.validation_case import Case
from raypipe.papers.llama4rec.variants import WAVES
from raypipe.pipeline.stage import Context
from raypipe.schema import ITEM, USER
from raypipe.steps.completions import answers

#: standard errors by which pointwise must be ahead: one (Breiman et al., 1984) took the worse one
#: by chance
CERTAIN = 2


def choose(ctx: Context, config: Llama4RecConfig, variant: str) -> dict[str, Any]:
    """chosen.json: for each backbone the ranking and, for variants that mix, alpha_1, alpha_2 and
    the whole grid.

    One choice for all seeds, by the mean over them of the value on validation. Inputs: prompts,
    completions, model/SEED/NAME. Only validation rows are read.
    """
    cases = session.in_worker(_cases, ctx, config)
    grids: dict[str, list[dict[str, float]]] = {}
    if WAVES[variant].mixed:
        space = {
            "alpha_1": list(config.aggregation.alpha_1),
            "alpha_2": list(config.aggregation.alpha_2),
        }
        points = tune.grid(_evaluate_weights, space, cases, ctx.scratch)
        for name in {case.name for case in cases}:
            grids[name] = [_point(p["alpha_1"], p["alpha_2"], p[name]) for p in points]
    uniform = config.aggregation.alpha_1
    chosen = decide(cases, grids, uniform, config.aggregation.weight == "learned")
    (ctx.out / "chosen.json").write_text(json.dumps(chosen, indent=1))
    summary = {c["backbone"]: [c["ranking"], c["alpha_1"], c["alpha_2"]] for c in chosen}
    return {"rows": len(chosen), "chosen": summary}


def _point(alpha_1: float, alpha_2: float, value: float) -> dict[str, float]:
    return {"alpha_1": alpha_1, "alpha_2": alpha_2, "value": value}


def _cases(ctx: Context, config: Llama4RecConfig) -> list[Case]:
    """The cases of each backbone, seed, ranking and scope; some thousand numbers each."""
    histories = Histories(tables(ctx))
    answered = answers(ctx, "prompts", "completions")
    scores, _ = llm_scores(answered[answered["split"] == "validation"])
    cases: list[Case] = []
    for task in config.tasks:
        for backbone, seed in itertools.product(config.backbones[task], config.repetitions):
            own = scores["seed"].eq(seed) & scores["backbone"].eq(backbone)
            own_scores = scores[own & scores["task"].eq(task)]
            builder = _CaseBuilder(task, backbone, histories, config, own_scores)
            folder = ctx.input(f"model/{seed}/{backbone}")
            if task == "rating":
                cases.append(builder.rating(pd.read_parquet(folder / "predictions.parquet")))
            else:
                cases += builder.lists(pd.read_parquet(folder / "lists.parquet"))
    return cases


@dataclass(frozen=True)
class _CaseBuilder:
    """Builds the cases of one backbone and seed from its output and the LLM's scores."""

    task: str
    backbone: str
    histories: Histories
    config: Llama4RecConfig
    scores: pd.DataFrame

    def rating(self, predictions: pd.DataFrame) -> Case:
        """The case of the rating task."""
        rows = predictions[predictions["split"] == "validation"]
        rows = rows.merge(self.scores[[USER, ITEM, "score"]], on=[USER, ITEM], how="left")
        llm_U = rows["score"].fillna(rows["prediction"]).to_numpy(float)
        backbone_U, truth_U = rows["prediction"].to_numpy(float), rows["truth"].to_numpy(float)
        return self._case("pointwise", "all", rows[USER], (llm_U, backbone_U, truth_U))

    def lists(self, lists: pd.DataFrame) -> Iterator[Case]:
        """The cases of a top-k task: listwise answers all users, pointwise some, and on these the
        two are compared.
        """
        lists = lists[lists["split"] == "validation"]
        pointwise_users = set(self.scores.loc[self.scores["ranking"] == "pointwise", USER])
        compared = lists[lists[USER].isin(pointwise_users)]
        for ranking in RANKINGS:
            scores = self.scores[self.scores["ranking"] == ranking]
            for scope, users in (("all", lists), ("compared", compared)):
                if not len(scores) or not len(users) or (ranking, scope) == ("pointwise", "all"):
                    continue
                items_UK, _ = candidates(users, self.config.k_prime)
                llm_UK, backbone_UK, _ = utilities(users, scores, self.config)
                target_U = metrics.target_ranks(users["target"].to_numpy(), items_UK)
                yield self._case(ranking, scope, users[USER], (llm_UK, backbone_UK, target_U))

    def _case(
        self,
        ranking: Ranking,
        scope: str,
        users: pd.Series,
        values: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> Case:
        ell_U, ell_range = coefficients(self.histories, self.task, users)
        return Case(self.task, self.backbone, ranking, scope, ell_U, ell_range, *values)


def coefficients(
    histories: Histories, task: str, users: pd.Series
) -> tuple[np.ndarray, tuple[float, float]]:
    """[U] eq. 4 of `users` from training interactions (LO21), and its range over all training
    users.
    """
    lengths = {user: len(past.items) for user, past in histories.training(task).items()}
    everyone = aggregation.long_tail_coefficient(np.array(list(lengths.values())))
    ell_U = aggregation.long_tail_coefficient(training_interactions(histories, task, users))
    return ell_U, (float(everyone.min()), float(everyone.max()))


def training_interactions(histories: Histories, task: str, users: pd.Series) -> np.ndarray:
    """[U] N(u) of eq. 4: how many training interactions each user has."""
    training = histories.training(task)
    return np.array([len(training[user].items) if user in training else 0 for user in users])


def _evaluate_weights(point: dict[str, float], cases: list[Case]) -> dict[str, float]:
    """Name of a case -> mean over the seeds of its quality at a point of the grid."""
    values: dict[str, list[float]] = {}
    for case in cases:
        values.setdefault(case.name, []).append(case.quality(case.weight(point)))
    return {name: float(np.mean(of_seeds)) for name, of_seeds in values.items()}


def decide(
    cases: Sequence[Case],
    grids: dict[str, list[dict[str, float]]],
    uniform: Sequence[float] = (),
    learned: bool = False,
) -> list[dict[str, Any]]:
    """A line of chosen.json for each backbone: the ranking, then its best weights; equal values go
    to smaller weights.

    Args:
        cases: those of a backbone stand together, one for each seed, ranking and scope.
        grids: name of a case -> grid with the mean value over seeds; empty where the LLM alone
            decides.
        uniform: weights for all users alike, of which the best for the chosen ranking is found too
            (L26).
        learned: mix by the learned weights, not by the best of eq. 5; both are fitted and reported
            in any case.
    """
    by_backbone: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        by_backbone.setdefault((case.task, case.backbone), []).append(case)
    return [_decide_one(own, grids, uniform, learned) for own in by_backbone.values()]


def _decide_one(
    cases: list[Case],
    grids: dict[str, list[dict[str, float]]],
    uniform: Sequence[float],
    learned: bool,
) -> dict[str, Any]:
    groups: dict[tuple[Ranking, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.ranking, case.scope), []).append(case)
    compared = {}
    for (ranking, scope), group in groups.items():
        if scope == "compared":
            compared[ranking] = _best(group, grids)
    ranking = _choose_ranking(cases[0].task, groups, compared)
    decisive = groups.get((ranking, "all")) or groups[ranking, "compared"]
    best = _best(decisive, grids)
    mixer, uniform_values = None, {}
    if grids:
        everyone = [np.arange(len(case.ell)) for case in decisive]
        mixer = {"b": learn(decisive, everyone), "validation": cross_fitted(decisive)}
        uniform_values = {alpha: round(_mean_quality(decisive, alpha), 9) for alpha in uniform}
    return {
        "task": cases[0].task,
        "backbone": cases[0].backbone,
        "ranking": ranking,
        "alpha_1": best["alpha_1"],
        "alpha_2": best["alpha_2"],
        "validation": best["value"],
        "mixer": mixer,
        "learned": mixer["b"] if mixer and learned else None,
        "compared": {name: point["value"] for name, point in compared.items()},
        "ell_range": decisive[0].ell_range,
        "uniform": max(uniform_values, key=lambda a: (uniform_values[a], -a))
        if uniform_values
        else None,
        "grid": grids.get(decisive[0].name, []),
    }


def _best(cases: list[Case], grids: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """The best point of the grid, smaller weights among equals; without a grid the LLM alone."""
    if not grids:
        return {"alpha_1": None, "alpha_2": None, "value": _mean_quality(cases, None)}
    grid = grids[cases[0].name]
    return max(grid, key=lambda g: (round(g["value"], 9), -g["alpha_1"], -g["alpha_2"]))


def _mean_quality(cases: list[Case], alpha: float | None) -> float:
    """The mean over seeds with one weight for all users; None: the LLM alone."""
    values = []
    for case in cases:
        weight_U = None if alpha is None else np.full(len(case.ell), alpha)
        values.append(case.quality(weight_U))
    return float(np.mean(values))


def _choose_ranking(
    task: str,
    groups: dict[tuple[Ranking, str], list[Case]],
    compared: dict[Ranking, dict[str, Any]],
) -> Ranking:
    """Pointwise needs k' prompts for one of listwise and is compared on few users.

    So it is chosen where it is better by more than CERTAIN standard errors of the difference; else
    listwise.
    """
    if task == "rating" or set(compared) == {"pointwise"}:
        return "pointwise"
    if len(compared) < 2:
        return "listwise"
    gains: dict[Ranking, np.ndarray] = {}
    for ranking, point in compared.items():
        of_seeds = [case.gains(case.weight(point)) for case in groups[ranking, "compared"]]
        gains[ranking] = np.concatenate(of_seeds)
    lead = gains["pointwise"] - gains["listwise"]
    certain = CERTAIN * lead.std(ddof=1) / len(lead) ** 0.5
    return "pointwise" if lead.mean() > certain else "listwise"


def pointwise_test_prompts(
    ctx: Context, config: Llama4RecConfig, with_hints: bool
) -> dict[str, Any]:
    """prompts/ for the test part of those backbones whose chosen ranking is pointwise; mostly there
    are none.
    """
    parts = []
    for choice in json.loads((ctx.input("chosen") / "chosen.json").read_text()):
        if choice["task"] != "rating" and choice["ranking"] == "pointwise":
            for seed in config.repetitions:
                parts.append(Part(seed, choice["task"], choice["backbone"]))
    requests = functools.partial(pointwise_test, ctx, config, with_hints)
    return render_requests(ctx, config, parts, requests)
