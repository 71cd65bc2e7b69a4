"""Stages that fit backbones on a snapshot.

The first fit, on the training part, lets validation choose the number of epochs. The second fit, on
the whole first snapshot, runs for as many epochs, with every seed. It alone reads the second
snapshot, once (RO1).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from safetensors.torch import load_file, save_file

from raypipe.backbones import contract, registry
from raypipe.backbones.contract import Backbone, Ranker, SetQueries
from raypipe.backbones.entities import TextVectors
from raypipe.backbones.fit import FitContext, fit
from raypipe.backbones.scoring import nearest_users, top_sets
from raypipe.backbones.snapshots import SnapshotMatrices
from raypipe.cluster import session
from raypipe.cluster.training_session import LocalSession
from raypipe.data.snapshot import VALIDATION
from raypipe.evaluation import metrics
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.histories import EVALUATED_PART, AsOf, load_tables
from raypipe.papers.reclm.vectors import read_vectors
from raypipe.pipeline.stage import Context
from raypipe.schema import USER
from raypipe.seeding import derive

SETTINGS: tuple[Literal["full-shot", "zero-shot"], ...] = ("full-shot", "zero-shot")
METRICS = ("R@20", "R@40", "N@20", "N@40")
#: items of a ranking that the metrics look at
DEPTH = 40
_METRIC_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "R": metrics.set_recall,
    "N": metrics.set_ndcg,
}


def texts(ctx: Context) -> TextVectors:
    """The vectors of the inputs `texts`, `users` and `items`; the last two may be absent."""
    items = read_vectors(ctx.input("texts"))["items"]
    return TextVectors(items, _profile_vectors(ctx, "users"), _profile_vectors(ctx, "items"))


def _profile_vectors(ctx: Context, name: str) -> np.ndarray | None:
    return read_vectors(ctx.input(name))["profiles"] if name in ctx.inputs else None


def fit_backbone(
    ctx: Context, config: ReclmConfig, name: str, as_of: AsOf, seed: int
) -> dict[str, Any]:
    """Fit one backbone; writes its weights, its learning curve and the metrics of every user.

    With the input `chosen`, a fit on the training part, it runs for that fit's best number of
    epochs.
    """
    module = registry.find("direct", name)
    options = _fit_options(ctx, config, name)
    tables, part = load_tables(ctx), EVALUATED_PART[as_of]
    data = tables.fit_data(part, texts(ctx) if module.Model.takes_texts else None)
    work = LocalSession(ctx.scratch, ctx.out, config.checkpoint_seconds)

    def report(line: dict[str, float]) -> None:
        if line["epoch"] % (5 * options.evaluate_every) == 0:
            session.post(
                f"    {ctx.name}: epoch {line['epoch']:.0f}, loss {line['loss']:.4f}, "
                f"R@20 {line['validation']:.4f}"
            )

    with work.resume() as folder:
        fitted = fit(
            module.Model, data, options, derive(seed, name), FitContext(report, work.save, folder)
        )
    _save_weights(fitted.model, ctx.out)
    facts = {"rows": len(data.user), **_curve_facts(fitted.curve)}
    (ctx.out / "curve.json").write_text(json.dumps(fitted.curve))
    (ctx.out / "facts.json").write_text(json.dumps(facts))
    assert isinstance(fitted.model, Ranker)
    parts = []
    for setting in SETTINGS:
        questions = tables.queries(part, setting)
        by_user = user_metrics(fitted.model, questions, tables.users, seed)
        by_user.insert(0, "setting", setting)
        parts.append(by_user)
    pd.concat(parts, ignore_index=True).to_parquet(ctx.out / "answers.parquet", index=False)
    return facts


def _fit_options(ctx: Context, config: ReclmConfig, name: str) -> contract.Options:
    """The hyper-parameters of a backbone, with the number of epochs that validation chose."""
    options = registry.options("direct", name, config.backbone_options.get(name, {}))
    if "chosen" not in ctx.inputs:
        return options
    epochs = json.loads((ctx.input("chosen") / "facts.json").read_text())["best_epoch"]
    return options.model_copy(update={"epochs": epochs, "evaluate_every": epochs})


def _save_weights(model: Backbone, folder: Path) -> None:
    weights = {}
    for name, weight in model.state_dict().items():
        weights[name] = weight.contiguous()
    save_file(weights, folder / "model.safetensors")


def _curve_facts(curve: list[dict[str, float]]) -> dict[str, float]:
    """The best epoch of a learning curve, and its costs.

    An epoch's seconds include the validation after it, which costs all rows the same (Table 3).
    """
    best = max(curve, key=lambda line: line["validation"])
    seconds = [line["seconds"] for line in curve]
    return {
        "epochs": len(curve),
        "best_epoch": best["epoch"],
        "validation": best["validation"],
        "seconds_per_epoch": float(np.median(seconds)),
    }


def user_metrics(model: Ranker, questions: SetQueries, users: pd.Index, seed: int) -> pd.DataFrame:
    """One row per question: user_id and METRICS."""
    _, correct_QK = top_sets(model, questions, DEPTH, seed)
    by_metric = set_metrics(correct_QK, np.diff(questions.targets.start))
    return pd.DataFrame({USER: users[questions.user], **by_metric})


def set_metrics(correct_QK: np.ndarray, targets_Q: np.ndarray) -> dict[str, np.ndarray]:
    """METRICS of each question (R28, RO5).

    Args:
        correct_QK: whether each item of a ranking is among the question's targets.
        targets_Q: number of targets of each question.
    """
    by_metric = {}
    for metric in METRICS:
        letter, _, depth = metric.partition("@")
        values = _METRIC_FUNCTIONS[letter](correct_QK, targets_Q, int(depth))
        by_metric[metric] = values.astype(np.float32)
    return by_metric


def load_model(
    folder: Path,
    config: ReclmConfig,
    name: str,
    tables: SnapshotMatrices,
    as_of: AsOf,
    vectors: TextVectors,
) -> Backbone:
    """A fitted backbone from its weights.

    Args:
        vectors: the vectors that it was fitted with.
    """
    module = registry.find("direct", name)
    data = tables.fit_data(EVALUATED_PART[as_of], vectors if module.Model.takes_texts else None)
    options = registry.options("direct", name, config.backbone_options.get(name, {}))
    model = module.Model(data, options)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def similar_users(ctx: Context, config: ReclmConfig, name: str) -> np.ndarray:
    """[U, n] the most similar other users, by the embeddings of a graph model (R11, RO18)."""
    tables = load_tables(ctx)
    model = load_model(ctx.input("model"), config, name, tables, "train", texts(ctx))
    embeddings = model.user_embeddings(tables.fit_data(VALIDATION, None))
    return nearest_users(embeddings, config.profiles.neighbours).astype(np.int32)


def neighbours(ctx: Context, config: ReclmConfig, name: str) -> dict[str, Any]:
    """similar.npy, see `similar_users`."""
    similar = similar_users(ctx, config, name)
    np.save(ctx.out / "similar.npy", similar)
    return {"rows": len(similar)}
