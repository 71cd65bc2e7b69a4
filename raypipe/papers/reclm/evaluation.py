"""The test on the second snapshot, which is read once.

Every row of the tables gets a paired test. Popularity and random orders stand beside them.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pandas as pd
import torch

from raypipe.backbones import registry
from raypipe.backbones.contract import Ranker, SetQueries
from raypipe.backbones.scoring import top_sets
from raypipe.data.snapshot import TEST
from raypipe.evaluation import significance
from raypipe.papers.reclm.backbones import DEPTH, METRICS, SETTINGS, set_metrics
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.histories import load_tables
from raypipe.papers.reclm.vectors import read_vectors, unit
from raypipe.pipeline.stage import Context
from raypipe.schema import USER
from raypipe.seeding import derive, generator

#: random orders of the catalogue, whose spread shows how much luck a table allows
ORDERS = 20
#: random assignments of texts to items, to compare the true assignment with
ASSIGNMENTS = 200
#: largest number of item pairs that `text_signal` compares
PAIRS = 100_000
#: a backbone without parameters, which every run evaluates
POPULARITY = "popularity"

#: setting -> metric -> [seeds, U] the value of every seed and user
UserMetrics = dict[str, dict[str, np.ndarray]]


class _FixedOrder(Ranker):
    """The same scores for every user."""

    personal = False
    fixed: torch.Tensor

    def __init__(self, scores_I: np.ndarray) -> None:
        torch.nn.Module.__init__(self)  # nothing is fitted, so there are no options
        self.n_items = len(scores_I)
        self.register_buffer("fixed", torch.from_numpy(scores_I.astype(np.float32)))

    def score(self, user_B: torch.Tensor, history_BT: torch.Tensor) -> torch.Tensor:
        return self.fixed.repeat(len(user_B), 1)


def random_orders(questions: SetQueries, n_items: int, seed: int) -> dict[str, list[float]]:
    """Metric -> its mean under each of ORDERS random orders, each shared by all users."""
    by_metric: dict[str, list[float]] = {metric: [] for metric in METRICS}
    targets = np.diff(questions.targets.start)
    for number in range(ORDERS):
        model = _FixedOrder(generator(seed, "random order", number).permutation(n_items))
        _, correct = top_sets(model, questions, DEPTH, derive(seed, "ties", number))
        for metric, values in set_metrics(correct, targets).items():
            by_metric[metric].append(float(values.mean()))
    return by_metric


def text_signal(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """signal.json: whether texts carry information about which items the same user has.

    It is the mean cosine of the texts of two items of one user in the first snapshot, beside its
    value when texts are assigned to items at random.
    """
    tables = load_tables(ctx)
    vectors = unit(read_vectors(ctx.input("texts"))["items"])
    rng = generator(config.seed, "text signal")
    left, right = _item_pairs(tables.fit_rows(TEST), rng)
    items, position = np.unique(np.concatenate([left, right]), return_inverse=True)
    left_row, right_row = np.split(position, 2)
    item_vectors = vectors[items]
    cosine = float((item_vectors[left_row] * item_vectors[right_row]).sum(1).mean())
    by_chance = []
    for _ in range(ASSIGNMENTS):
        shuffled = item_vectors[rng.permutation(len(item_vectors))]
        by_chance.append(float((shuffled[left_row] * shuffled[right_row]).sum(1).mean()))
    mean, std = float(np.mean(by_chance)), float(np.std(by_chance, ddof=1))
    signal = {
        "cosine": cosine,
        "random": mean,
        "std": std,
        "z": (cosine - mean) / std if std else 0.0,
        "pairs": len(left),
    }
    (ctx.out / "signal.json").write_text(json.dumps(signal))
    return {"rows": len(left), **signal}


def _item_pairs(known: pd.DataFrame, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Up to PAIRS pairs of items of one user: neighbours in a random order of the user's items."""
    rows = known[["u", "i"]].assign(draw=rng.random(len(known))).sort_values(["u", "draw"])
    users, items = rows["u"].to_numpy(), rows["i"].to_numpy(np.int64)
    same_user = np.flatnonzero(users[1:] == users[:-1])
    chosen = same_user[rng.permutation(len(same_user))[:PAIRS]]
    return items[chosen], items[chosen + 1]


def fit_input(row: str, backbone: str, seed: int) -> str:
    """The name of an input of `evaluate`: a backbone fitted with the profiles of a row."""
    return f"fit/{backbone}/{row}/{seed}"


def evaluate(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """metrics.json: `lines`, one per setting, backbone, row and metric, and `random`.

    A line has the value of each seed. A row other than Base has a test against Base, paired over
    users and seeds. If Augment is there, every other row also has the p value of Augment's test
    against it (`augment_p`). `random` has the values of random orders.
    """
    tables = load_tables(ctx)
    lines: list[dict[str, Any]] = []
    titles = {}
    for backbone in _evaluated_backbones(ctx, config):
        titles[backbone] = registry.title(backbone)
        by_row: dict[str, UserMetrics] = {}
        for name in config.rows:
            if fit_input(name, backbone, config.seed) in ctx.inputs:
                by_row[name] = _read_metrics(ctx, config, backbone, name)
        for setting, row, metric in itertools.product(SETTINGS, by_row, METRICS):
            line = {"setting": setting, "backbone": backbone, "row": row, "metric": metric}
            lines.append({**line, **_compare(by_row, setting, row, metric)})
    chance = {}
    for setting in SETTINGS:
        questions = tables.queries(TEST, setting)
        chance[setting] = random_orders(questions, len(tables.items), config.seed)
    report = json.dumps({"lines": lines, "random": chance}, indent=1)
    (ctx.out / "metrics.json").write_text(report)
    return {"rows": len(lines), "titles": titles}


def _evaluated_backbones(ctx: Context, config: ReclmConfig) -> list[str]:
    """Popularity, then the others by name."""
    backbones = []
    for name in (POPULARITY, *sorted({*config.backbones} - {POPULARITY})):
        if fit_input("base", name, config.seed) in ctx.inputs:
            backbones.append(name)
    return backbones


def _compare(by_row: dict[str, UserMetrics], setting: str, row: str, metric: str) -> dict[str, Any]:
    """The values of a row, and its tests."""
    values_SU = by_row[row][setting][metric]
    by_seed = values_SU.mean(1)
    line: dict[str, Any] = {
        "values": by_seed.tolist(),
        "mean": float(by_seed.mean()),
        "n_users": values_SU.shape[1],
        "std": float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else 0.0,
    }
    if row != "base":
        test = significance.paired_test(values_SU, by_row["base"][setting][metric])
        line |= {"p": test.p, "effect": test.effect, "detectable": test.detectable}
    if row not in ("base", "augment") and "augment" in by_row:
        augment = by_row["augment"][setting][metric]
        line["augment_p"] = significance.paired_test(augment, values_SU).p
    return line


def _read_metrics(ctx: Context, config: ReclmConfig, backbone: str, row: str) -> UserMetrics:
    """The metrics of every seed and user; users are in the same order in every row."""
    by_user = []
    for seed in config.repetitions:
        folder = ctx.input(fit_input(row, backbone, seed))
        by_user.append(pd.read_parquet(folder / "answers.parquet"))
    result: UserMetrics = {}
    for setting in SETTINGS:
        result[setting] = {}
        frames = [_sorted_users(frame, setting) for frame in by_user]
        for metric in METRICS:
            values = [frame[metric].to_numpy(float) for frame in frames]
            result[setting][metric] = np.stack(values)
    return result


def _sorted_users(by_user: pd.DataFrame, setting: str) -> pd.DataFrame:
    return by_user[by_user["setting"] == setting].sort_values(USER, kind="stable")
