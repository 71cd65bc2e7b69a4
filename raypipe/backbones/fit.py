"""The one training loop of all backbones.

It is plain PyTorch: `FitContext` is its only link to Ray. Each epoch draws its random numbers from
the seed, so a fit that resumes from the checkpoint of epoch n equals an uninterrupted one.
"""

from __future__ import annotations

import copy
import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from raypipe.backbones.adam import Adam, average
from raypipe.backbones.allocator import keep_freed
from raypipe.backbones.contract import (
    Backbone,
    FitData,
    Options,
    Queries,
    Ranker,
    Rater,
    RatingQueries,
    SetQueries,
)
from raypipe.backbones.scoring import predict, top_k, top_sets
from raypipe.evaluation import metrics
from raypipe.seeding import derive, generator

#: builds a backbone from its data and options; called as Model(data, options)
ModelClass = Callable[[FitData, Any], Backbone]


class Worker(NamedTuple):
    """One of `world` workers that fit the same model; `add` sums a tensor over them in place."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")
    add: Callable[[torch.Tensor], None] = lambda tensor: None


def _ignore(_: object) -> None:
    """A report or checkpoint that nobody keeps."""


class FitContext(NamedTuple):
    """How a fit reports, saves, begins, and shares its work.

    Attributes:
        report: receives epoch, loss, validation value and seconds after each validation.
        save: receives a function that writes a checkpoint to a folder, and decides when and where
            to call it.
        resume: a folder that this function wrote; the fit continues from there.
        initial_weights: weights to start from, where `can_start` allows it.
        worker: this process among those that fit the model together.
    """

    report: Callable[[dict[str, float]], None] = _ignore
    save: Callable[[Callable[[Path], None]], None] = _ignore
    resume: Path | None = None
    initial_weights: dict[str, torch.Tensor] | None = None
    worker: Worker = Worker()


class FitResult(NamedTuple):
    """The model of the best epoch, and one line of the learning curve per validation."""

    model: Backbone
    curve: list[dict[str, float]]


def validate(
    model: Backbone,
    data: FitData,
    seed: int,
    worker: Worker = Worker(),  # noqa: B008 - frozen
) -> float:
    """The validation value for early stopping; larger is better.

    N@10 of the full ranking, R@20 for queries with several relevant items, or -RMSE. Each worker
    evaluates a part of the queries.
    """
    queries = data.validation.part(np.arange(worker.rank, len(data.validation.user), worker.world))
    values = query_values(model, queries, seed)
    total = torch.tensor([values.sum(), len(values)], dtype=torch.float64, device=worker.device)
    worker.add(total)
    mean = float(total[0] / total[1])
    return -(mean**0.5) if isinstance(queries, RatingQueries) else mean


def query_values(
    model: Backbone, queries: Queries | RatingQueries | SetQueries, seed: int
) -> np.ndarray:
    """[Q] N@10, R@20 or squared error of each query."""
    if isinstance(queries, RatingQueries):
        assert isinstance(model, Rater)
        return (predict(model, queries).astype(float) - queries.rating) ** 2
    assert isinstance(model, Ranker)
    if isinstance(queries, SetQueries):
        return metrics.set_recall(
            top_sets(model, queries, 20, seed)[1], np.diff(queries.targets.start), 20
        )
    return metrics.ndcg(top_k(model, queries, 1, seed).target_rank, 10)


def fit(
    build: ModelClass,
    data: FitData,
    options: Options,
    seed: int,
    context: FitContext = FitContext(),  # noqa: B008 - frozen
) -> FitResult:
    """Fit until validation stops improving or the epochs end; return the best epoch's model.

    Several workers draw the same batches, take a part of the rows each, and add their gradients.
    The number of workers therefore changes the result only by rounding, dropout, and contrasts
    within a batch, which then see the worker's rows.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    worker = context.worker
    keep_freed()
    torch.manual_seed(derive(seed, "init"))
    model = build(data, options).to(worker.device)
    half = torch.autocast(
        worker.device.type, torch.bfloat16, model.mixed_precision and worker.device.type == "cuda"
    )
    if context.initial_weights is not None:
        model.load_state_dict(context.initial_weights)
    optimizer = Adam(model, model.lazy, options.learning_rate)
    state = Progress(epoch=0, best=-np.inf, best_epoch=0, waited=0, curve=[])
    best = copy.deepcopy(model.state_dict())
    if context.resume is not None:
        state, best = restore(context.resume, model, optimizer)
    while state.epoch < options.epochs and state.waited < options.patience:
        epoch = state.epoch
        torch.manual_seed(derive(seed, "epoch", epoch, *([worker.rank] if worker.rank else [])))
        model.train()
        began, count = time.perf_counter(), 0
        total = torch.zeros((), dtype=torch.float64, device=worker.device)
        for batch in model.batches(data, generator(seed, "batches", epoch)):
            size = len(batch[0])
            if size < worker.world:
                continue
            shard = [part[worker.rank :: worker.world].to(worker.device) for part in batch]
            optimizer.zero_grad()
            with half:
                loss = model.loss(*shard) * (len(shard[0]) * worker.world / size)
            loss.backward()
            if worker.world > 1:
                average(model, worker.rank, worker.world, worker.add)
            optimizer.step()
            total += loss.detach()
            count += 1
        worker.add(total)
        mean = float(total) / max(count * worker.world, 1)
        state.epoch += 1
        if not np.isfinite(mean):
            raise FloatingPointError(
                f"the loss is not finite in epoch {state.epoch}; lower the learning rate"
            )
        if state.epoch % options.evaluate_every and state.epoch < options.epochs:
            continue
        value = validate(model, data, seed, worker)
        if value > state.best:
            state.best, state.best_epoch, state.waited = value, state.epoch, 0
            best = copy.deepcopy(model.state_dict())
        else:
            state.waited += 1
        line = {
            "epoch": state.epoch,
            "loss": mean,
            "validation": value,
            "seconds": time.perf_counter() - began,
        }
        state.curve.append(line)
        context.report(line)
        context.save(
            functools.partial(store, model=model, optimizer=optimizer, state=state, best=best)
        )
    model.load_state_dict(best)
    return FitResult(model, state.curve)


def can_start(
    start: dict[str, torch.Tensor],
    build: ModelClass,
    data: FitData,
    options: Options,
) -> bool:
    """Whether a model of `data` can start from these weights: all names and shapes must agree."""
    weights = build(data, options).state_dict()
    if weights.keys() != start.keys():
        return False
    return all(weights[name].shape == start[name].shape for name in weights)


@dataclass
class Progress:
    """The state of a fit: epochs done, best value and its epoch, validations since, and curve."""

    epoch: int
    best: float
    best_epoch: int
    waited: int
    curve: list[dict[str, float]]


def store(
    folder: Path, model: Backbone, optimizer: Adam, state: Progress, best: dict[str, torch.Tensor]
) -> None:
    """Write a checkpoint: weights, best weights and Adam's moments as safetensors, and JSON."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()} | {
        f"best.{k}": v for k, v in best.items()
    }
    tensors |= {f"adam.{k}": v for k, v in optimizer.tensors().items()}
    save_file({k: v.clone().contiguous() for k, v in tensors.items()}, folder / "state.safetensors")
    (folder / "progress.json").write_text(json.dumps(vars(state)))


def restore(
    folder: Path, model: Backbone, optimizer: Adam
) -> tuple[Progress, dict[str, torch.Tensor]]:
    """Read a checkpoint into model and optimizer."""
    tensors = load_file(folder / "state.safetensors")
    groups: dict[str, dict[str, torch.Tensor]] = {"model": {}, "best": {}, "adam": {}}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        groups[kind][rest] = tensor
    model.load_state_dict(groups["model"])
    optimizer.load(groups["adam"])
    return Progress(**json.loads((folder / "progress.json").read_text())), groups["best"]
