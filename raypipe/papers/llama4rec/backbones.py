"""The stage that fits a backbone, on Ray Train."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from safetensors.torch import load_file, save_file

from raypipe.backbones import registry
from raypipe.backbones.contract import FitData, Options, RatingQueries
from raypipe.backbones.fit import FitContext, Worker, can_start, fit
from raypipe.backbones.interaction_matrices import Augmentation, InteractionMatrices
from raypipe.backbones.scoring import predict, similar_users, top_k
from raypipe.cluster import session, train
from raypipe.cluster.training_session import LocalSession, Session
from raypipe.papers.llama4rec import prompt_requests
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.prompts import tables
from raypipe.pipeline.stage import Context
from raypipe.schema import ITEM, LISTS, PREDICTIONS, RATING, USER
from raypipe.seeding import derive

#: depth of the lists that tuning candidates are drawn from
DEEP = 50


def augmented(ctx: Context, name: str) -> Augmentation | None:
    """The LLM's additions for a backbone, where the stage has them as an input."""
    return (
        Augmentation.read(ctx.input("augmentation"), name) if "augmentation" in ctx.inputs else None
    )


def fit_backbone(
    ctx: Context,
    config: Llama4RecConfig,
    task: str,
    name: str,
    options: dict[str, Any],
    hint: bool,
    k: int,
    seed: int,
) -> dict[str, Any]:
    """Fit one backbone, and write its weights, its learning curve, its answers to all questions, and the similar users.

    Files: model.safetensors, curve.json, similar.parquet, and lists.parquet/ or predictions.parquet/ with a file a worker.
    """
    settings = {
        "ctx": ctx,
        "task": task,
        "name": name,
        "options": options,
        "hint": hint,
        "k": k,
        "seed": seed,
    }
    if config.backbone_workers == 1:  # a trainer runs this
        _fit_loop(LocalSession(ctx.scratch, ctx.out, config.checkpoint_seconds), settings)
    else:
        crew = train.workers(config.backbone_workers, 1)
        checkpoint = train.run(_fit_loop, settings, ctx.scratch, crew, config.checkpoint_seconds)
        with train.final(checkpoint) as folder:
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
    ctx, task, seed = settings["ctx"], settings["task"], settings["seed"]
    source = tables(ctx)
    options = registry.options(task, settings["name"], settings["options"])
    module = registry.find(task, settings["name"])
    data = source.fit_data(task, settings["hint"], augmented(ctx, settings["name"]))
    label = f"    {ctx.name}"

    def report(line: dict[str, float]) -> None:
        line["rows"] = len(data.user)
        if work.rank:
            return
        if line["epoch"] % max(1, 10 * options.evaluate_every) == 0:
            session.post(
                f"{label}: epoch {line['epoch']:.0f}, loss {line['loss']:.4f}, validation {line['validation']:.4f}"
            )

    def save(write: Callable[[Path], None]) -> None:
        work.save(
            write if work.rank == 0 else lambda folder: None
        )  # all workers hold the same weights

    start = load_file(ctx.input("start") / "model.safetensors") if "start" in ctx.inputs else None
    if start is not None and not can_start(start, module.Model, data, options):
        start = None
        session.post(
            f"{label}: its augmented data has other columns, so it is fitted from the beginning"
        )
    crew = Worker(work.rank, work.world, work.device, work.all_reduce)
    with work.resume() as folder:
        context = FitContext(report, save, folder, start, crew)
        fitted = fit(module.Model, data, options, derive(seed, settings["name"]), context)

    def write(folder: Path) -> None:
        """Each worker answers a part of the questions; worker 0 writes what all of them hold."""
        model = fitted.model
        parts = ("held",) if settings["hint"] else ("validation", "test")
        answers = pd.concat(
            [_answers(model, source, task, p, settings["k"], seed, crew) for p in parts],
            ignore_index=True,
        )
        contract, name = (
            (PREDICTIONS, "predictions.parquet") if task == "rating" else (LISTS, "lists.parquet")
        )
        (folder / name).mkdir()
        pq.write_table(
            contract.from_frame(answers, ctx.name), folder / name / f"part-{work.rank}.parquet"
        )
        if work.rank:
            return
        save_file(
            {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors"
        )
        (folder / "curve.json").write_text(json.dumps(fitted.curve))
        nearest = similar_users(model.user_embeddings(data))
        pd.DataFrame({USER: source.users, "similar": source.users[nearest]}).to_parquet(
            folder / "similar.parquet", index=False
        )

    work.finish(write, together=True)


def _answers(
    model: Any, source: InteractionMatrices, task: str, part: str, k: int, seed: int, worker: Worker
) -> pd.DataFrame:
    """The worker's share of LISTS or PREDICTIONS rows of a part."""
    asked = source.target_rows(task, part)
    own = np.arange(worker.rank, len(asked), worker.world)
    queries, asked = source.queries(task, part).part(own), asked.iloc[own]
    names = [prompt_requests.split_name(part, p) for p in asked["position"]]
    if isinstance(queries, RatingQueries):
        return pd.DataFrame(
            {
                USER: asked[USER].to_numpy(),
                ITEM: asked[ITEM].to_numpy(),
                "split": names,
                "prediction": predict(model, queries),
                "truth": asked[RATING].to_numpy(),
            }
        )
    best = top_k(model, queries, k, seed)
    free = best.scores > -np.inf  # of a small catalogue, a user may have taken all but a few items
    return pd.DataFrame(
        {
            USER: asked[USER].to_numpy(),
            "split": names,
            "items": [
                items[f] for items, f in zip(source.items.to_numpy()[best.items], free, strict=True)
            ],
            "scores": [scores[f] for scores, f in zip(best.scores, free, strict=True)],
            "target": asked[ITEM].to_numpy(),
            "target_rank": best.target_rank,
        }
    )


def load_backbone(folder: Path, task: str, name: str, data: FitData, options: Options) -> Any:
    """A fitted backbone from its weights."""
    model = registry.find(task, name).Model(data, options)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()
