"""The stage that fits a backbone on Ray Train, and a fitted backbone's output: candidate lists and
predicted ratings.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from raypipe.backbones import registry
from raypipe.backbones.contract import (
    Backbone,
    FitData,
    Options,
    Queries,
    Ranker,
    Rater,
    RatingQueries,
)
from raypipe.backbones.fit import FitContext, Worker, can_start, fit
from raypipe.backbones.interaction_matrices import Augmentation, InteractionMatrices
from raypipe.backbones.scoring import predict, similar_users, top_k
from raypipe.cluster import session, train
from raypipe.cluster.training_session import LocalSession, Session
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.prompt_requests import split_name
from raypipe.papers.llama4rec.prompts import tables
from raypipe.pipeline.stage import Context
from raypipe.schema import ITEM, LISTS, PREDICTIONS, RATING, USER
from raypipe.seeding import derive

#: depth of the lists that tuning candidates are drawn from
DEEP = 50


@dataclass(frozen=True)
class BackboneFit:
    """Which backbone is fitted, and what it predicts afterwards.

    Attributes:
        options: hyper-parameters that differ from the defaults.
        hint: fit without the held rows, and predict these (LO12); else predict validation and test.
        k: length of the candidate lists.
    """

    task: str
    name: str
    k: int
    seed: int
    hint: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are predicted."""
        return ("held",) if self.hint else ("validation", "test")


def fit_backbone(ctx: Context, config: Llama4RecConfig, job: BackboneFit) -> dict[str, Any]:
    """Fit one backbone; write its weights, its learning curve, its predictions, and the similar
    users.

    Files: model.safetensors, curve.json, similar.parquet, and lists.parquet/ or
        predictions.parquet/ with a file a
    worker.
    """
    settings = {"ctx": ctx, "job": job}
    if config.backbone_workers == 1:  # a trainer runs this
        _fit_loop(LocalSession(ctx.scratch, ctx.out, config.checkpoint_seconds), settings)
    else:
        crew = train.workers(config.backbone_workers, 1)
        result = train.run(_fit_loop, settings, ctx.scratch, crew, config.checkpoint_seconds)
        with result as folder:
            shutil.copytree(folder, ctx.out, dirs_exist_ok=True)
    curve = json.loads((ctx.out / "curve.json").read_text())
    best = max(curve, key=lambda line: line["validation"])
    return {
        "rows": curve[0]["rows"],
        "epochs": len(curve),
        "best_epoch": best["epoch"],
        "validation": best["validation"],
        "seconds_per_epoch": float(np.mean([line["seconds"] for line in curve])),
    }


def _fit_loop(work: Session | LocalSession, settings: dict[str, Any]) -> None:
    ctx: Context = settings["ctx"]
    job: BackboneFit = settings["job"]
    source = tables(ctx)
    options = registry.options(job.task, job.name, job.options)
    model_class = registry.find(job.task, job.name).Model
    extra = None
    if "augmentation" in ctx.inputs:
        extra = Augmentation.read(ctx.input("augmentation"), job.name)
    data = source.fit_data(job.task, job.hint, extra)
    label = f"    {ctx.name}"

    def report(line: dict[str, float]) -> None:
        line["rows"] = len(data.user)
        every = max(1, 10 * options.evaluate_every)
        if work.rank == 0 and line["epoch"] % every == 0:
            values = f"loss {line['loss']:.4f}, validation {line['validation']:.4f}"
            session.post(f"{label}: epoch {line['epoch']:.0f}, {values}")

    def save(write: Callable[[Path], None]) -> None:
        # all workers hold the same weights
        work.save(write if work.rank == 0 else _write_nothing)

    start: dict[str, torch.Tensor] | None = None
    if "start" in ctx.inputs:
        start = load_file(ctx.input("start") / "model.safetensors")
        if not can_start(start, model_class, data, options):
            start = None
            session.post(f"{label}: the augmented data has other columns; fitting starts anew")
    crew = Worker(work.rank, work.world, work.device, work.all_reduce)
    seed = derive(job.seed, job.name)
    with work.resume() as folder:
        context = FitContext(report, save, folder, start, crew)
        fitted = fit(model_class, data, options, seed, context)

    def write(folder: Path) -> None:
        """Each worker predicts a part of the rows; worker 0 writes what all of them hold."""
        rows = _predictions(fitted.model, source, job, crew)
        contract, name = LISTS, "lists.parquet"
        if job.task == "rating":
            contract, name = PREDICTIONS, "predictions.parquet"
        (folder / name).mkdir()
        pq.write_table(
            contract.from_frame(rows, ctx.name), folder / name / f"part-{work.rank}.parquet"
        )
        if work.rank == 0:
            _write_model(fitted.model, data, source, folder)
            (folder / "curve.json").write_text(json.dumps(fitted.curve))

    work.finish(write, together=True)


def _write_nothing(folder: Path) -> None:
    """What a worker adds to a checkpoint that worker 0 writes alone."""


def _write_model(model: Backbone, data: FitData, source: InteractionMatrices, folder: Path) -> None:
    """model.safetensors and similar.parquet."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    nearest = similar_users(model.user_embeddings(data))
    similar = pd.DataFrame({USER: source.users, "similar": source.users[nearest]})
    similar.to_parquet(folder / "similar.parquet", index=False)


def _predictions(
    model: Backbone, source: InteractionMatrices, job: BackboneFit, worker: Worker
) -> pd.DataFrame:
    """The worker's share of LISTS or PREDICTIONS rows of all splits."""
    parts = []
    for split in job.splits:
        targets = source.target_rows(job.task, split)
        rows = np.arange(worker.rank, len(targets), worker.world)
        queries, targets = source.queries(job.task, split).part(rows), targets.iloc[rows]
        if isinstance(queries, RatingQueries):
            assert isinstance(model, Rater)
            frame = targets[[USER, ITEM]].assign(
                prediction=predict(model, queries), truth=targets[RATING]
            )
        else:
            assert isinstance(model, Ranker) and isinstance(queries, Queries)
            frame = candidate_lists(model, source, queries, job.k, job.seed)
            frame = frame.assign(target=targets[ITEM].to_numpy())
        splits = [split_name(split, position) for position in targets["position"]]
        parts.append(frame.assign(split=splits))
    return pd.concat(parts, ignore_index=True)


def candidate_lists(
    model: Ranker, source: InteractionMatrices, queries: Queries, k: int, seed: int
) -> pd.DataFrame:
    """The k best items of each query with their scores: user_id, items, scores, target_rank.

    A list is shorter where a user of a small catalogue has taken all but a few items.
    """
    best = top_k(model, queries, k, seed)
    items, scores = [], []
    for row, names in zip(best.scores, source.items.to_numpy()[best.items], strict=True):
        unseen = row > -np.inf
        items.append(names[unseen])
        scores.append(row[unseen])
    users = source.users.to_numpy()[queries.user]
    return pd.DataFrame(
        {USER: users, "items": items, "scores": scores, "target_rank": best.target_rank}
    )


def load_backbone(folder: Path, task: str, name: str, data: FitData, options: Options) -> Any:
    """A fitted backbone from its weights."""
    model = registry.find(task, name).Model(data, options)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()
