"""The second snapshot, read once: every row of the tables, with paired tests, popularity and random orders beside them."""

from __future__ import annotations

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
from raypipe.papers.reclm.backbones import METRICS, SETTINGS, values
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.histories import tables
from raypipe.papers.reclm.vectors import read_vectors, unit
from raypipe.pipeline.stage import Context
from raypipe.seeding import derive, generator

#: random orders of the catalogue, by which the luck of a table is told
ORDERS = 20

#: random assignments of the texts, by which their information is told
ASSIGNMENTS = 200


class _Fixed(Ranker):
    """The same scores for every user."""

    personal = False
    fixed: torch.Tensor

    def __init__(self, scores_I: np.ndarray) -> None:
        torch.nn.Module.__init__(self)  # it is not fitted, and has no options
        self.n_items = len(scores_I)
        self.register_buffer("fixed", torch.from_numpy(scores_I.astype(np.float32)))

    def score(self, user_B: torch.Tensor, history_BT: torch.Tensor) -> torch.Tensor:
        return self.fixed.repeat(len(user_B), 1)


def random_orders(asked: SetQueries, n_items: int, seed: int) -> dict[str, list[float]]:
    """Metric -> its value under each of ORDERS random orders that all users share."""
    made: dict[str, list[float]] = {m: [] for m in METRICS}
    size = np.diff(asked.targets.start)
    for number in range(ORDERS):
        model = _Fixed(generator(seed, "random order", number).permutation(n_items))
        own = values(top_sets(model, asked, 40, derive(seed, "ties", number))[1], size)
        for metric in METRICS:
            made[metric].append(float(own[metric].mean()))
    return made


def text_signal(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """signal.json: whether texts tell anything of who takes what: the mean cosine of items that the same user took in the first
    snapshot, beside its value when texts are assigned to items at random.
    """
    source = tables(ctx)
    texts = unit(read_vectors(ctx.input("texts"))["items"])
    rng = generator(config.seed, "text signal")
    left, right = _pairs(source.known(TEST), rng)
    items = np.unique(np.concatenate([left, right]))
    at = np.full(len(texts), -1)
    at[items] = np.arange(len(items))
    own = texts[items]
    real = float((own[at[left]] * own[at[right]]).sum(1).mean())
    drawn = []
    for _ in range(ASSIGNMENTS):
        mixed = own[rng.permutation(len(own))]
        drawn.append(float((mixed[at[left]] * mixed[at[right]]).sum(1).mean()))
    mean, std = float(np.mean(drawn)), float(np.std(drawn, ddof=1))
    line = {
        "cosine": real,
        "random": mean,
        "std": std,
        "z": (real - mean) / std if std else 0.0,
        "pairs": len(left),
    }
    (ctx.out / "signal.json").write_text(json.dumps(line))
    return {"rows": len(left), **line}


def _pairs(
    known: pd.DataFrame, rng: np.random.Generator, most: int = 100_000
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of items that the same user took: of each user a random order of the items, neighbours in it."""
    rows = known[["u", "i"]].assign(draw=rng.random(len(known))).sort_values(["u", "draw"])
    u, i = rows["u"].to_numpy(), rows["i"].to_numpy(np.int64)
    same = np.flatnonzero(u[1:] == u[:-1])
    same = same[rng.permutation(len(same))[:most]]
    return i[same], i[same + 1]


def evaluate(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """metrics.json: one line a setting, backbone, row and metric, with the value of each seed; random orders; rows.

    A row beside Base has a test against Base, paired over users and seeds; where Augment is there, the others have Augment's
    against them, too (`augment_p`).
    """
    source = tables(ctx)
    lines: list[dict[str, Any]] = []
    names = sorted({key.split("/")[1] for key in ctx.inputs if key.startswith("fit/")})
    order = (
        ["popularity", *(n for n in names if n != "popularity")] if "popularity" in names else names
    )
    for name in order:
        rows = [r for r in config.rows if f"fit/{name}/{r}/{config.seed}" in ctx.inputs]
        answered = {row: _by_user(ctx, config, name, row) for row in rows}
        for setting in SETTINGS:
            for row in rows:
                for metric in METRICS:
                    own_SU = answered[row][setting][metric]
                    by_seed = own_SU.mean(1)
                    line = {
                        "setting": setting,
                        "backbone": name,
                        "row": row,
                        "metric": metric,
                        "values": by_seed.tolist(),
                        "mean": float(by_seed.mean()),
                        "n_users": own_SU.shape[1],
                    }
                    line["std"] = float(np.std(by_seed, ddof=1)) if config.seeds > 1 else 0.0
                    if row != "base":
                        test = significance.paired(own_SU, answered["base"][setting][metric])
                        line |= {"p": test.p, "effect": test.effect, "detectable": test.detectable}
                    if row not in ("base", "augment") and "augment" in rows:
                        line["augment_p"] = significance.paired(
                            answered["augment"][setting][metric], own_SU
                        ).p
                    lines.append(line)
    chance = {
        s: random_orders(source.questions(TEST, s), len(source.items), config.seed)
        for s in SETTINGS
    }
    (ctx.out / "metrics.json").write_text(json.dumps({"lines": lines, "random": chance}, indent=1))
    titles = {name: registry.title(name) for name in order}
    return {"rows": len(lines), "titles": titles}


def _by_user(
    ctx: Context, config: ReclmConfig, name: str, row: str
) -> dict[str, dict[str, np.ndarray]]:
    """Setting -> metric -> [seeds, U] the value of each seed and user; the users stand in the same order in every row."""
    frames = [
        pd.read_parquet(ctx.input(f"fit/{name}/{row}/{seed}") / "answers.parquet")
        for seed in config.repetitions
    ]
    made: dict[str, dict[str, np.ndarray]] = {}
    for setting in SETTINGS:
        own = [f[f["setting"] == setting].sort_values("user_id", kind="stable") for f in frames]
        made[setting] = {
            metric: np.stack([f[metric].to_numpy(float) for f in own]) for metric in METRICS
        }
    return made
