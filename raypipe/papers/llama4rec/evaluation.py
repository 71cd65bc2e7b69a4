"""The test set, read once: predictions of every variant, and their metrics."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from raypipe.backbones.interaction_matrices import InteractionMatrices
from raypipe.evaluation import metrics, significance, slices
from raypipe.papers.llama4rec import aggregation
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.llm_scores import candidates, utilities, values
from raypipe.papers.llama4rec.model_selection import coefficients
from raypipe.papers.llama4rec.prompt_requests import Histories
from raypipe.papers.llama4rec.prompts import tables
from raypipe.papers.llama4rec.variants import WAVES, source, waves
from raypipe.pipeline.stage import Context
from raypipe.schema import ITEM, USER
from raypipe.steps.completions import answers

#: what the others are measured against, the better of them for each metric (L40)
BASELINES = ("base", "ift")


class Told(NamedTuple):
    """What a wave's LLM said of the test set, and what was chosen for it on validation, by backbone."""

    said: pd.DataFrame
    chosen: dict[str, dict[str, Any]]


def evaluate(ctx: Context, config: Llama4RecConfig) -> dict[str, Any]:
    """seedN/TASK.BACKBONE.VARIANT.parquet for every variant and seed; metrics.json with values, slices and tests."""
    data = tables(ctx)
    past = Histories(data)
    numbers = {item: n for n, item in enumerate(data.items)}
    told: dict[str, Told] = {}
    rejected: Counter[str] = Counter()
    for name in waves(config.variants):
        read = json.loads((ctx.input(f"chosen/{name}") / "chosen.json").read_text())
        parts = []
        for wave in (name, f"{name}-pointwise"):
            frame, kinds = values(answers(ctx, f"prompts/{wave}", f"completions/{wave}"))
            rejected.update(kinds)
            parts.append(frame[frame["split"] == "test"])
        told[name] = Told(pd.concat(parts, ignore_index=True), {c["backbone"]: c for c in read})
    results, rows = [], 0
    for task in config.tasks:
        for backbone in config.backbones[task]:
            frames: dict[str, list[pd.DataFrame]] = {}
            for variant in config.variants:
                of = told.get(source(variant))
                for seed in config.repetitions:
                    if task == "rating":
                        frame = _rating(ctx, backbone, variant, seed, of, past)
                    else:
                        frame = _ranking(
                            ctx, config, task, backbone, variant, seed, of, past, numbers
                        )
                    folder = ctx.out / f"seed{seed}"
                    folder.mkdir(exist_ok=True)
                    frame.to_parquet(folder / f"{task}.{backbone}.{variant}.parquet", index=False)
                    frames.setdefault(variant, []).append(frame)
                    rows += len(frame)
            results += measure(task, backbone, frames, _slices(task, frames["base"][0], past, data))
    (ctx.out / "metrics.json").write_text(json.dumps(results, indent=1))
    return {"rows": rows, "rejected": dict(rejected)}


def _answers(ctx: Context, variant: str, seed: int, backbone: str, file: str) -> pd.DataFrame:
    """The test rows that the variant's conventional model gave."""
    model = "base" if variant == "base" else WAVES[source(variant)].models
    frame = pd.read_parquet(ctx.input(f"{model}/{seed}/{backbone}") / file)
    return frame[frame["split"] == "test"].sort_values(USER, kind="stable").reset_index(drop=True)


def _said(told: Told, seed: int, task: str, backbone: str) -> pd.DataFrame:
    """What the LLM said of a backbone's candidates, in the way of asking that was chosen."""
    said, template = told.said, told.chosen[backbone]["ranking"]
    of = (said["seed"] == seed) & (said["task"] == task) & (said["backbone"] == backbone)
    return said[of & (said["template"] == template)]


def _weights(
    variant: str, choice: dict[str, Any], past: Histories, task: str, users: pd.Series
) -> np.ndarray:
    """[U] weight of the LLM: all where nothing is mixed, one for all users without adaptive aggregation, else eq. 5."""
    if not WAVES[source(variant)].mixed:
        return np.ones(len(users))
    if variant == "wo_aa":
        return np.full(len(users), choice["uniform"])
    ell, low, high = coefficients(past, task, users)
    return aggregation.weight(ell, low, high, choice)


def _rating(
    ctx: Context, backbone: str, variant: str, seed: int, told: Told | None, past: Histories
) -> pd.DataFrame:
    frame = _answers(ctx, variant, seed, backbone, "predictions.parquet").drop(columns="split")
    frame = frame.astype(
        {"prediction": float, "truth": float}
    )  # metrics are taken from what the file holds, to the last bit
    if told is None:
        return frame
    frame = frame.merge(_said(told, seed, "rating", backbone)[[USER, "value"]], on=USER, how="left")
    frame["rec"], frame["llm"] = frame["prediction"], frame["value"].fillna(frame["prediction"])
    frame["alpha"] = _weights(variant, told.chosen[backbone], past, "rating", frame[USER])
    frame["prediction"] = aggregation.blend_ratings(
        frame["llm"].to_numpy(), frame["rec"].to_numpy(), frame["alpha"].to_numpy()
    )
    return frame.drop(columns="value")


def _ranking(
    ctx: Context,
    config: Llama4RecConfig,
    task: str,
    backbone: str,
    variant: str,
    seed: int,
    told: Told | None,
    past: Histories,
    numbers: dict[str, int],
) -> pd.DataFrame:
    lists = _answers(ctx, variant, seed, backbone, "lists.parquet")
    items, scores = candidates(lists, config.k_prime)
    k = items.shape[1]
    rec = np.broadcast_to(np.arange(1, k + 1), items.shape)
    columns = {USER: np.repeat(lists[USER].to_numpy(), k), ITEM: items.ravel()}
    if told is None:
        columns |= {"rank": rec.ravel(), "score": scores.ravel()}
    else:
        llm, conventional = utilities(lists, _said(told, seed, task, backbone), numbers, config)
        value = llm
        if WAVES[source(variant)].mixed:
            alpha = _weights(variant, told.chosen[backbone], past, task, lists[USER])
            value = aggregation.mixed(llm, conventional, alpha)
            columns["alpha"] = np.repeat(alpha, k)
        columns |= {
            "rank": aggregation.positions(value).ravel(),
            "score": value.ravel(),
            "rec": conventional.ravel(),
            "llm": llm.ravel(),
            "rank_rec": rec.ravel(),
            "rank_llm": aggregation.positions(llm).ravel(),
        }
    columns["target"] = np.repeat(lists["target"].to_numpy(), k)
    made = pd.DataFrame(columns)[items.ravel() != ""]
    return made.sort_values([USER, "rank"], kind="stable").reset_index(drop=True)


def _slices(
    task: str, frame: pd.DataFrame, past: Histories, data: InteractionMatrices
) -> dict[str, np.ndarray]:
    """[U] third of each user, by length of the training history and by popularity of the target in training."""
    asked = frame.drop_duplicates(USER)
    lengths = past.rated if task == "rating" else past.topk_train
    length = np.array([len(lengths[u].items) if u in lengths else 0 for u in asked[USER]])
    log = data.rows(task)
    times = log[log["part"] == "train"][ITEM].value_counts()
    popularity = times.reindex(
        asked[ITEM if task == "rating" else "target"], fill_value=0
    ).to_numpy()
    return {"history": slices.thirds(length), "popularity": slices.thirds(popularity)}


def per_user(task: str, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Each user's value of each metric, in the frame's order of users; for ratings the squared and absolute errors."""
    if task == "rating":
        error = (frame["prediction"] - frame["truth"]).to_numpy(float)
        return {"RMSE": error**2, "MAE": np.abs(error)}
    users = frame[USER].drop_duplicates().to_numpy()
    hits = frame[frame[ITEM] == frame["target"]].set_index(USER)["rank"]
    return metrics.ranking(hits.reindex(users).fillna(0).to_numpy(int))


def reported(metric: str, values_U: np.ndarray) -> float:
    """The reported value: a mean over users; RMSE is the root of the mean squared error."""
    mean = float(np.mean(values_U))
    return mean**0.5 if metric == "RMSE" else mean


def _tails(
    own_SU: np.ndarray, base_SU: np.ndarray, third_U: np.ndarray, metric: str
) -> dict[str, dict[str, float]]:
    """What L4 is about: does `level`, the values of the users of the first third, or their `gain` over Base, differ from that of
    the last? `difference` of the reported values and its `p`; empty where a third has less than two users.
    """
    tail, head = third_U == 0, third_U == len(slices.NAMES) - 1
    if min(tail.sum(), head.sum()) < 2:
        return {}

    def differ(values_SU: np.ndarray) -> float:
        return float(
            np.mean(
                [
                    reported(metric, own_U[tail]) - reported(metric, own_U[head])
                    for own_U in values_SU
                ]
            )
        )

    level, sign = differ(own_SU), -1 if metric in metrics.RATING else 1
    return {
        "level": {"difference": level, "p": significance.group_test(own_SU, tail, head).p},
        "gain": {
            "difference": sign * (level - differ(base_SU)),
            "p": significance.group_test(own_SU - base_SU, tail, head).p,
        },
    }


def measure(
    task: str, backbone: str, frames: dict[str, list[pd.DataFrame]], groups: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """One row a variant and metric, with the value of each seed.

    Variants beside the baselines have a test against the better baseline, paired over users and seeds,
    and `base_p`, the p of the same test against Base. In ranking they also have
    `oracle`, the value that each metric would have if the same candidates stood in the best order: the share of users whose target
    is among them. `tails`: how the first third differs from the last, see `_tails`.

    Args:
        frames: variant -> one frame of predictions a seed, all with the same users in the same order.
        groups: name of a slicing -> [U] third of each user.
    """
    users = frames["base"][0][USER].drop_duplicates().to_numpy()
    assert all(
        (f[USER].drop_duplicates().to_numpy() == users).all() for of in frames.values() for f in of
    )
    by_seed = {variant: [per_user(task, f) for f in of] for variant, of in frames.items()}
    oracle: dict[str, float] = {}
    if task != "rating":
        within = {
            variant: [(f[ITEM] == f["target"]).sum() / len(users) for f in of]
            for variant, of in frames.items()
        }
        oracle = {variant: float(np.mean(shares)) for variant, shares in within.items()}
    rows = []
    for metric in by_seed["base"][0]:
        lower = metric in metrics.RATING
        of = {
            variant: np.stack([values[metric] for values in every])
            for variant, every in by_seed.items()
        }  # [seeds, U]
        means = {
            variant: [reported(metric, own_U) for own_U in own_SU] for variant, own_SU in of.items()
        }
        baselines = [v for v in BASELINES if v in of]
        baseline = (min if lower else max)(baselines, key=lambda v: np.mean(means[v]))
        for variant, own_SU in of.items():
            row: dict[str, Any] = {
                "task": task,
                "backbone": backbone,
                "variant": variant,
                "metric": metric,
                "values": means[variant],
                "n_users": len(users),
                "tails": {
                    name: told
                    for name, group in groups.items()
                    if (told := _tails(own_SU, of["base"], group, metric))
                },
                "slices": {
                    name: {
                        third: float(
                            np.mean([reported(metric, own_U[group == g]) for own_U in own_SU])
                        )
                        for g, third in enumerate(slices.NAMES)
                        if (group == g).any()
                    }
                    for name, group in groups.items()
                },
            }
            if variant not in BASELINES:
                test = significance.paired_test(own_SU, of[baseline])
                unit = (
                    2 * np.mean(means[baseline]) if metric == "RMSE" else 1.0
                )  # d MSE = 2 RMSE d RMSE
                row |= {
                    "against": baseline,
                    "p": test.p,
                    "base_p": significance.paired_test(own_SU, of["base"]).p,
                    "effect": -test.effect if lower else test.effect,
                    "detectable": test.detectable / unit,
                }
                row |= {"oracle": oracle[variant]} if oracle else {}
            rows.append(row)
    return rows
