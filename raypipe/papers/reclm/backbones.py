"""Stages that fit backbones on a snapshot: first on its training part, where validation chooses the epochs, then on all of it with
every seed.

The second snapshot is read by the second fit alone, once, with the epochs chosen (RO1).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from safetensors.torch import load_file, save_file

from raypipe.backbones import registry
from raypipe.backbones.contract import Backbone, Ranker, SetQueries
from raypipe.backbones.entities import Texts
from raypipe.backbones.fit import fit
from raypipe.backbones.scoring import nearest_users, top_sets
from raypipe.backbones.snapshots import SnapshotTables
from raypipe.cluster import session, train
from raypipe.data.snapshot import VALIDATION
from raypipe.evaluation import metrics
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.histories import ASKED, Known, tables
from raypipe.papers.reclm.vectors import read_vectors
from raypipe.pipeline.stage import Context
from raypipe.schema import USER
from raypipe.seeding import derive

SETTINGS: tuple[Literal["full-shot", "zero-shot"], ...] = ("full-shot", "zero-shot")
METRICS = ("R@20", "R@40", "N@20", "N@40")


def texts(ctx: Context) -> Texts:
    """The vectors of a stage's inputs `texts`, `users` and `items`; the last two may be absent."""
    profile = {
        side: read_vectors(ctx.input(side))["profiles"] if side in ctx.inputs else None
        for side in ("users", "items")
    }
    return Texts(read_vectors(ctx.input("texts"))["items"], profile["users"], profile["items"])


def fit_backbone(
    ctx: Context, config: ReclmConfig, name: str, known: Known, seed: int
) -> dict[str, Any]:
    """Fit one backbone on what is `known`; writes its weights, its learning curve and the values of all questions.

    With the input `chosen`, a fit on the training part, it runs for the epochs that were the best there.
    """
    options = registry.options("direct", name, config.backbone_options.get(name, {}))
    module = registry.find("direct", name)
    source = tables(ctx)
    data = source.fit_data(ASKED[known], texts(ctx) if module.Model.takes_texts else None)
    if "chosen" in ctx.inputs:
        epochs = json.loads((ctx.input("chosen") / "facts.json").read_text())["best_epoch"]
        options = options.model_copy(update={"epochs": epochs, "evaluate_every": epochs})
    work = train.Alone(ctx.scratch, ctx.out, config.checkpoint_seconds)

    def report(line: dict[str, float]) -> None:
        if line["epoch"] % (5 * options.evaluate_every) == 0:
            session.post(
                f"    {ctx.name}: epoch {line['epoch']:.0f}, loss {line['loss']:.4f}, R@20 {line['validation']:.4f}"
            )

    with work.resume() as folder:
        fitted = fit(module.Model, data, options, derive(seed, name), report, work.save, folder)
    model, curve = fitted.model, fitted.curve
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, ctx.out / "model.safetensors"
    )
    (ctx.out / "curve.json").write_text(json.dumps(curve))
    best = max(curve, key=lambda line: line["validation"])
    # with the validation after each, which costs all rows the same (Table 3)
    facts = {
        "rows": len(data.user),
        "epochs": len(curve),
        "best_epoch": best["epoch"],
        "validation": best["validation"],
        "seconds_per_epoch": float(np.median([line["seconds"] for line in curve])),
    }
    (ctx.out / "facts.json").write_text(json.dumps(facts))
    assert isinstance(model, Ranker)
    parts = [
        answers(model, source.questions(ASKED[known], s), s, source.users, seed) for s in SETTINGS
    ]
    pd.concat(parts, ignore_index=True).to_parquet(ctx.out / "answers.parquet", index=False)
    return facts


def answers(
    model: Ranker, asked: SetQueries, setting: str, users: pd.Index, seed: int
) -> pd.DataFrame:
    """One row a question: setting, user and METRICS."""
    right = top_sets(model, asked, 40, seed)[1]
    return pd.DataFrame(
        {"setting": setting, USER: users[asked.user], **values(right, np.diff(asked.targets.start))}
    )


def values(right_QK: np.ndarray, size_Q: np.ndarray) -> dict[str, np.ndarray]:
    """METRICS of each question (R28, RO5)."""
    made: dict[str, Callable[..., np.ndarray]] = {
        "R": metrics.recall_of_sets,
        "N": metrics.ndcg_of_sets,
    }
    return {m: made[m[0]](right_QK, size_Q, int(m[2:])).astype(np.float32) for m in METRICS}


def load_model(
    folder: Path, config: ReclmConfig, name: str, source: SnapshotTables, known: Known, own: Texts
) -> Backbone:
    """A fitted backbone from its weights."""
    module = registry.find("direct", name)
    data = source.fit_data(ASKED[known], own if module.Model.takes_texts else None)
    model = module.Model(
        data, registry.options("direct", name, config.backbone_options.get(name, {}))
    )
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def similar_users(ctx: Context, config: ReclmConfig, name: str) -> np.ndarray:
    """[U, n] the users most alike by the embeddings of a graph model (R11), never the user itself (RO18)."""
    source = tables(ctx)
    model = load_model(ctx.input("model"), config, name, source, "train", texts(ctx))
    found = nearest_users(
        model.user_embeddings(source.fit_data(VALIDATION, None)), config.profiles.neighbours
    )
    return found.astype(np.int32)


def neighbours(ctx: Context, config: ReclmConfig, name: str) -> dict[str, Any]:
    """similar.npy: `similar_users`."""
    found = similar_users(ctx, config, name)
    np.save(ctx.out / "similar.npy", found)
    return {"rows": len(found)}
