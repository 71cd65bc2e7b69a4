"""The test set, read once: predictions of every variant, and their metrics.

U = users, S = seeds.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from raypipe.backbones.interaction_matrices import InteractionMatrices
from raypipe.evaluation import metrics, significance, slices
from raypipe.papers.llama4rec import mixing
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.histories import Histories
from raypipe.papers.llama4rec.llm_scores import llm_scores
from raypipe.papers.llama4rec.mixing import Choice
from raypipe.papers.llama4rec.model_selection import training_interactions
from raypipe.papers.llama4rec.prompts import tables
from raypipe.papers.llama4rec.variants import WAVES, models_of, source, waves
from raypipe.pipeline.stage import Context
from raypipe.schema import ITEM, USER
from raypipe.steps.completions import answers

#: what the others are measured against, the better of them for each metric (L40)
BASELINES = ("base", "ift")


class WaveResult(NamedTuple):
    """A wave's scores for the test set, and what was chosen for it on validation, by backbone."""

    scores: pd.DataFrame
    chosen: dict[str, Choice]


def evaluate(ctx: Context, config: Llama4RecConfig) -> dict[str, Any]:
    """seedN/TASK.BACKBONE.VARIANT.parquet for every variant and seed; metrics.json with values,
    slices and tests.
    """
    data = tables(ctx)
    histories = Histories(data)
    wave_results, rejected = _wave_results(ctx, config)
    predictor = _Predictor(ctx, config, histories, wave_results)
    results: list[dict[str, Any]] = []
    rows = 0
    for task in config.tasks:
        for backbone in config.backbones[task]:
            frames: dict[str, list[pd.DataFrame]] = {}
            for variant in config.variants:
                frames[variant] = []
                for seed in config.repetitions:
                    frame = predictor.predict(task, backbone, variant, seed)
                    folder = ctx.out / f"seed{seed}"
                    folder.mkdir(exist_ok=True)
                    frame.to_parquet(folder / f"{task}.{backbone}.{variant}.parquet", index=False)
                    frames[variant].append(frame)
                    rows += len(frame)
            thirds = _slices(task, frames["base"][0], histories, data)
            results += measure(task, backbone, frames, thirds)
    (ctx.out / "metrics.json").write_text(json.dumps(results, indent=1))
    return {"rows": rows, "rejected": dict(rejected)}


def _wave_results(
    ctx: Context, config: Llama4RecConfig
) -> tuple[dict[str, WaveResult], Counter[str]]:
    """The result of each wave, and its rejected answers by kind."""
    results: dict[str, WaveResult] = {}
    rejected: Counter[str] = Counter()
    for name in waves(config.variants):
        parts = []
        for prompts in (name, f"{name}-pointwise"):
            scores, kinds = llm_scores(answers(ctx, f"prompts/{prompts}", f"completions/{prompts}"))
            rejected.update(kinds)
            parts.append(scores[scores["split"] == "test"])
        chosen = json.loads((ctx.input(f"chosen/{name}") / "chosen.json").read_text())
        by_backbone = {choice["backbone"]: choice for choice in chosen}
        results[name] = WaveResult(pd.concat(parts, ignore_index=True), by_backbone)
    return results, rejected


@dataclass(frozen=True)
class _Predictor:
    """Predicts the test rows of each variant."""

    ctx: Context
    config: Llama4RecConfig
    histories: Histories
    wave_results: dict[str, WaveResult]

    def predict(self, task: str, backbone: str, variant: str, seed: int) -> pd.DataFrame:
        """Test predictions: candidates with their ranks, or ratings, see mixing.py."""
        file = "predictions.parquet" if task == "rating" else "lists.parquet"
        rows = self._backbone_output(variant, seed, backbone, file)
        if task == "rating":
            rows = rows.drop(columns="split")
            # double precision: metrics are computed from what the file holds, to the last bit
            rows = rows.astype({"prediction": float, "truth": float})
        if source(variant) not in self.wave_results:
            return rows if task == "rating" else mixing.backbone_lists(rows, self.config)
        wave = self.wave_results[source(variant)]
        choice = wave.chosen[backbone]
        scores = _select(wave.scores, seed, choice)
        interactions_U = training_interactions(self.histories, task, rows[USER])
        weight_U = mixing.llm_weight(variant, choice, interactions_U)
        if task == "rating":
            return mixing.mixed_ratings(rows, scores, weight_U)
        weights = weight_U if WAVES[source(variant)].mixed else None
        return mixing.mixed_lists(rows, scores, weights, self.config)

    def _backbone_output(self, variant: str, seed: int, backbone: str, file: str) -> pd.DataFrame:
        """The test rows of the variant's backbone."""
        folder = self.ctx.input(f"{models_of(variant)}/{seed}/{backbone}")
        rows = pd.read_parquet(folder / file)
        return rows[rows["split"] == "test"].sort_values(USER, kind="stable").reset_index(drop=True)


def _select(scores: pd.DataFrame, seed: int, choice: Choice) -> pd.DataFrame:
    """The scores for one backbone's candidates, by the ranking that was chosen."""
    own = scores["seed"].eq(seed) & scores["backbone"].eq(choice["backbone"])
    own &= scores["task"].eq(choice["task"]) & scores["ranking"].eq(choice["ranking"])
    return scores[own]


def _slices(
    task: str, frame: pd.DataFrame, histories: Histories, data: InteractionMatrices
) -> dict[str, np.ndarray]:
    """[U] third of each user, by length of the training history and by popularity of the target in
    training.
    """
    rows = frame.drop_duplicates(USER)
    length_U = training_interactions(histories, task, rows[USER])
    log = data.rows(task)
    counts = log[log["part"] == "train"][ITEM].value_counts()
    targets = rows[ITEM if task == "rating" else "target"]
    popularity_U = counts.reindex(targets, fill_value=0).to_numpy()
    return {"history": slices.thirds(length_U), "popularity": slices.thirds(popularity_U)}


def per_user(task: str, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Each user's value of each metric, in the frame's order of users; for ratings the squared and
    absolute errors.
    """
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
    values_SU: np.ndarray, base_SU: np.ndarray, third_U: np.ndarray, metric: str
) -> dict[str, dict[str, float]]:
    """Do the users of the first third differ from those of the last (the paper's motive, L4)?

    `level` compares their values, `gain` what the variant adds to Base. Each holds the `difference`
    of the reported values and its `p`. Empty where a third has less than two users.
    """
    tail, head = third_U == 0, third_U == len(slices.NAMES) - 1
    if min(tail.sum(), head.sum()) < 2:
        return {}

    def difference(of_SU: np.ndarray) -> float:
        per_seed = [reported(metric, of_U[tail]) - reported(metric, of_U[head]) for of_U in of_SU]
        return float(np.mean(per_seed))

    level, sign = difference(values_SU), -1 if metric in metrics.RATING else 1
    gain = sign * (level - difference(base_SU))
    return {
        "level": {"difference": level, "p": significance.group_test(values_SU, tail, head).p},
        "gain": {
            "difference": gain,
            "p": significance.group_test(values_SU - base_SU, tail, head).p,
        },
    }


def measure(
    task: str,
    backbone: str,
    frames: dict[str, list[pd.DataFrame]],
    groups: dict[str, np.ndarray],
) -> list[dict[str, Any]]:
    """One row a variant and metric, with the value of each seed.

    Variants beside the baselines have a test against the better baseline, paired over users and
    seeds, and `base_p`, the p of the same test against Base. In ranking they also have `oracle`,
    the value that each metric would have if
    the same candidates stood in the best order: the share of users whose target is among them.
        `tails`: how the first
    third differs from the last, see `_tails`.

    Args:
        frames: variant -> one frame of predictions a seed, all with the same users in the same
            order.
        groups: name of a slicing -> [U] third of each user.
    """
    users = frames["base"][0][USER].drop_duplicates().to_numpy()
    by_seed: dict[str, list[dict[str, np.ndarray]]] = {}
    for variant, of_seeds in frames.items():
        assert all((f[USER].drop_duplicates().to_numpy() == users).all() for f in of_seeds)
        by_seed[variant] = [per_user(task, frame) for frame in of_seeds]
    rows = []
    for metric in by_seed["base"][0]:
        values = {
            variant: np.stack([of_seed[metric] for of_seed in of_seeds])
            for variant, of_seeds in by_seed.items()
        }
        rows += _measure_metric(metric, values, groups)
    for row in rows:
        row |= {"task": task, "backbone": backbone, "n_users": len(users)}
        if task != "rating" and row["variant"] not in BASELINES:
            row["oracle"] = _oracle(frames[row["variant"]], len(users))
    return rows


def _oracle(frames: list[pd.DataFrame], n_users: int) -> float:
    """The share of users whose target is among the candidates; mean over the seeds."""
    shares = [(frame[ITEM] == frame["target"]).sum() / n_users for frame in frames]
    return float(np.mean(shares))


def _measure_metric(
    metric: str, values: dict[str, np.ndarray], groups: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """A row for each variant.

    Args:
        values: variant -> [S, U].
        groups: name of a slicing -> [U] third of each user.
    """
    lower_is_better = metric in metrics.RATING
    by_seed = {
        variant: [reported(metric, of_U) for of_U in of_SU] for variant, of_SU in values.items()
    }
    baselines = [variant for variant in BASELINES if variant in values]
    best = min if lower_is_better else max
    baseline = best(baselines, key=lambda variant: np.mean(by_seed[variant]))
    rows = []
    for variant, values_SU in values.items():
        row: dict[str, Any] = {"variant": variant, "metric": metric, "values": by_seed[variant]}
        row["tails"], row["slices"] = {}, {}
        for name, third_U in groups.items():
            if tails := _tails(values_SU, values["base"], third_U, metric):
                row["tails"][name] = tails
            row["slices"][name] = _by_third(metric, values_SU, third_U)
        if variant not in BASELINES:
            test = significance.paired_test(values_SU, values[baseline])
            # d MSE = 2 RMSE d RMSE
            unit = 2 * np.mean(by_seed[baseline]) if metric == "RMSE" else 1.0
            row |= {
                "against": baseline,
                "p": test.p,
                "base_p": significance.paired_test(values_SU, values["base"]).p,
                "effect": -test.effect if lower_is_better else test.effect,
                "detectable": test.detectable / unit,
            }
        rows.append(row)
    return rows


def _by_third(metric: str, values_SU: np.ndarray, third_U: np.ndarray) -> dict[str, float]:
    """Name of a third -> the reported value of its users, mean over the seeds; thirds without users
    are left out.
    """
    values = {}
    for number, name in enumerate(slices.NAMES):
        inside = third_U == number
        if inside.any():
            values[name] = float(np.mean([reported(metric, of_U[inside]) for of_U in values_SU]))
    return values
