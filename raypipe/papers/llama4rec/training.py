"""Stages that train: backbones and LLMs, on Ray Train."""

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
from raypipe.backbones.fit import Worker, can_start, fit
from raypipe.backbones.scoring import predict, similar_users, top_k
from raypipe.backbones.tables import Augmented, Tables
from raypipe.cluster import session, train
from raypipe.config import RunConfig
from raypipe.papers.data import model_of
from raypipe.papers.llama4rec import asks, words
from raypipe.papers.llama4rec.generation import tables
from raypipe.papers.tuning import run_tuning
from raypipe.pipeline.stage import Context
from raypipe.schema import ITEM, LISTS, PREDICTIONS, RATING, TITLE, USER
from raypipe.seeding import derive

#: depth of the lists that tuning candidates are drawn from
DEEP = 50


def augmented(ctx: Context, name: str) -> Augmented | None:
    """The LLM's additions for a backbone, where the stage has them as an input."""
    return Augmented.read(ctx.input("augmentation"), name) if "augmentation" in ctx.inputs else None


def fit_backbone(
    ctx: Context, config: RunConfig, task: str, name: str, options: dict[str, Any], hint: bool, k: int, seed: int
) -> dict[str, Any]:
    """Fit one backbone, and write its weights, its learning curve, its answers to all questions, and the similar users.

    Files: model.safetensors, curve.json, similar.parquet, and lists.parquet/ or predictions.parquet/ with a file a worker.
    """
    settings = {"ctx": ctx, "task": task, "name": name, "options": options, "hint": hint, "k": k, "seed": seed}
    if config.backbone_workers == 1:  # a trainer runs this
        _fit_loop(train.Alone(ctx.scratch, ctx.out, config.checkpoint_seconds), settings)
    else:
        crew = train.workers(config.backbone_workers, 1)
        checkpoint = train.run(_fit_loop, settings, ctx.scratch, crew, config.checkpoint_seconds)
        with train.final(checkpoint) as folder:
            shutil.copytree(folder, ctx.out, dirs_exist_ok=True)
    curve = json.loads((ctx.out / "curve.json").read_text())
    best = max(curve, key=lambda line: line["validation"])
    return {"rows": curve[0]["rows"], "epochs": len(curve), "best_epoch": best["epoch"], "validation": best["validation"],
            "seconds_per_epoch": float(np.mean([line["seconds"] for line in curve]))}  # fmt: skip


def _fit_loop(work: train.Session | train.Alone, settings: dict[str, Any]) -> None:
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
            session.post(f"{label}: epoch {line['epoch']:.0f}, loss {line['loss']:.4f}, validation {line['validation']:.4f}")

    def save(write: Callable[[Path], None]) -> None:
        work.save(write if work.rank == 0 else lambda folder: None)  # all workers hold the same weights

    start = load_file(ctx.input("start") / "model.safetensors") if "start" in ctx.inputs else None
    if start is not None and not can_start(start, module.Model, data, options):
        start = None
        session.post(f"{label}: its augmented data has other columns, so it is fitted from the beginning")
    crew = Worker(work.rank, work.world, work.device, work.add)
    with work.resume() as folder:
        fitted = fit(module.Model, data, options, derive(seed, settings["name"]), report, save, folder, crew, start)

    def write(folder: Path) -> None:
        """Each worker answers a part of the questions; worker 0 writes what all of them hold."""
        model = fitted.model
        parts = ("held",) if settings["hint"] else ("validation", "test")
        answers = pd.concat([_answers(model, source, task, p, settings["k"], seed, crew) for p in parts], ignore_index=True)
        contract, name = (PREDICTIONS, "predictions.parquet") if task == "rating" else (LISTS, "lists.parquet")
        (folder / name).mkdir()
        pq.write_table(contract.of(answers, ctx.name), folder / name / f"part-{work.rank}.parquet")
        if work.rank:
            return
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
        (folder / "curve.json").write_text(json.dumps(fitted.curve))
        nearest = similar_users(model.user_embeddings(data))
        pd.DataFrame({USER: source.users, "similar": source.users[nearest]}).to_parquet(folder / "similar.parquet", index=False)

    work.finish(write, together=True)


def _answers(model: Any, source: Tables, task: str, part: str, k: int, seed: int, worker: Worker) -> pd.DataFrame:
    """The worker's share of LISTS or PREDICTIONS rows of a part."""
    asked = source.targets(task, part)
    own = np.arange(worker.rank, len(asked), worker.world)
    queries, asked = source.queries(task, part).part(own), asked.iloc[own]
    names = [asks.split_name(part, p) for p in asked["position"]]
    if isinstance(queries, RatingQueries):
        return pd.DataFrame(
            {USER: asked[USER].to_numpy(), ITEM: asked[ITEM].to_numpy(), "split": names,
             "prediction": predict(model, queries), "truth": asked[RATING].to_numpy()}
        )  # fmt: skip
    best = top_k(model, queries, k, seed)
    free = best.scores > -np.inf  # of a small catalogue, a user may have taken all but a few items
    return pd.DataFrame(
        {USER: asked[USER].to_numpy(), "split": names,
         "items": [items[f] for items, f in zip(source.items.to_numpy()[best.items], free, strict=True)],
         "scores": [scores[f] for scores, f in zip(best.scores, free, strict=True)],
         "target": asked[ITEM].to_numpy(), "target_rank": best.target_rank}
    )  # fmt: skip


def load_backbone(folder: Path, task: str, name: str, data: FitData, options: Options) -> Any:
    """A fitted backbone from its weights."""
    model = registry.find(task, name).Model(data, options)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def build_base(ctx: Context, config: RunConfig, seed: int) -> dict[str, Any]:
    """The untuned LLM: for `embedded`, tokenizer and model are built from the corpus and learn its language; else a reference.

    The corpus holds item texts and training histories without the held rows, and nothing that is validation or test of any task.
    """
    if config.llm.source != "embedded":
        (ctx.out / "source.json").write_text(json.dumps({"model": config.llm.source}))
        return {"model": config.llm.source}
    facts = session.in_worker(_prepare_embedded, ctx, config, seed)
    own = config.llm.embedded
    language = config.llm.tune.model_copy(
        update={"epochs": own.epochs, "learning_rate": own.learning_rate, "batch_size": own.batch_size}
    )
    corpus = [str(ctx.out / "corpus.parquet")]
    trained = run_tuning(ctx, str(ctx.out / "untrained"), corpus, language, seed, own.dropout, config.checkpoint_seconds)
    return {**facts, **trained}


def _prepare_embedded(ctx: Context, config: RunConfig, seed: int) -> dict[str, Any]:
    from raypipe.llm import embedded

    documents: list[str] = []
    times: list[pd.Series] = []
    for number in range(len(config.sources)):
        source = tables(ctx, str(number))
        topk, rating = source.rows("direct"), source.rows("rating")
        taken = topk[(topk["part"] == "train") & ~topk["held"]]
        rated = rating[(rating["part"] == "train") & ~rating["held"] & ~rating["hidden"]]
        documents += words.corpus(
            source.dataset,
            [g["i"].to_numpy() for _, g in taken.groupby("u")],
            [(g["i"].to_numpy(), g[RATING].to_numpy()) for _, g in rated.groupby("u")] if "rating" in config.learnt else [],
            config.prompts,
            config.rated,
        )
        count = taken["i"].value_counts().reindex(range(len(source.items)), fill_value=0)
        times.append(count.set_axis(source.dataset.items[TITLE]))
    popular = pd.concat(times).groupby(level=0, sort=False).sum().sort_values(ascending=False, kind="stable")
    folder = ctx.out / "untrained"
    folder.mkdir()
    facts = embedded.build(documents, list(popular.index), config.llm.embedded, seed, folder)
    pd.DataFrame({"prompt": "", "answer": documents}).to_parquet(ctx.out / "corpus.parquet", index=False)
    return {**facts, "rows": len(documents)}


def tune_llm(ctx: Context, config: RunConfig, seed: int) -> dict[str, Any]:
    """Instruction tuning of the base LLM, on the instructions of all datasets mixed (L29)."""
    made = [str(ctx.input(name) / "instructions.parquet") for name in ctx.inputs if name != "base"]
    dropout = config.llm.embedded.dropout if config.llm.source == "embedded" else 0.0
    facts = run_tuning(ctx, model_of(ctx.input("base")), made, config.llm.tune, seed, dropout, config.checkpoint_seconds)
    return {**facts, "rows": facts["examples"]}
