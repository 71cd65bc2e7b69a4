"""Speed and memory of every backbone, beside public implementations measured in the same run.

    python -m benchmarks.backbones --data-dir DIR_OF_ML_100K
    python -m benchmarks.backbones --rows 100000,1000000,10000000 --backbones mf,light_gcn

Each line is measured in a separate process: training rows per second, seconds per epoch, seconds of
one full-ranking evaluation (rating backbones: one prediction of all validation rows), and the peak
memory of the process beyond its imports and data.

Public implementations (torch-geometric's LightGCN with the loop of its example, implicit's BPR,
deepctr-torch's models) get the same rows, batch size and embedding size. The table says which of
them are not installed. With `--rounds N` all implementations are measured N times in turn, and the
medians are printed, because the load of a machine changes from minute to minute.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from raypipe.backbones.contract import FitData
    from raypipe.backbones.transformer import SequenceRanker

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = {
    "mf": ("implicit BPR",),
    "light_gcn": ("torch-geometric LightGCN",),
    "deepfm": ("deepctr-torch DeepFM",),
    "nfm": ("deepctr-torch NFM",),
    "dcn": ("deepctr-torch DCN",),
    "afm": ("deepctr-torch AFM",),
    "xdeepfm": ("deepctr-torch xDeepFM",),
    "autoint": ("deepctr-torch AutoInt",),
}


def synthetic(rows: int, seed: int = 0) -> FitData:
    """A log of about `rows` distinct pairs with long tails of users and items.

    It has rows / 50 users and at most 100,000 items.
    """
    from raypipe.backbones.contract import FitData, Queries, Ragged
    from raypipe.seeding import generator

    rng = generator(seed, "synthetic", rows)
    n_users, n_items = max(100, rows // 50), int(min(100_000, max(500, rows // 100)))
    user = np.minimum((rng.random(rows) ** 1.5 * n_users).astype(np.int64), n_users - 1)
    item = np.minimum((rng.random(rows) ** 2.5 * n_items).astype(np.int64), n_items - 1)
    code = np.unique(user * n_items + item)
    user, item = code // n_items, code % n_items
    start = np.searchsorted(user, np.arange(n_users + 1))
    users = rng.choice(np.flatnonzero(np.diff(start) > 0), 1000, replace=False)
    sequences = Ragged(start.astype(np.int64), item)
    empty = np.zeros((n_users, 0), np.int64), np.zeros((n_items, 0), np.int64)
    validation = Queries(users, sequences.take(users), rng.integers(0, n_items, len(users)))
    rating = rng.integers(1, 6, len(user)).astype(np.float32)
    return FitData(
        n_users,
        n_items,
        user,
        item,
        rating,
        sequences,
        np.empty((0, 3), np.int64),
        *empty,
        (),
        (),
        validation,
    )


def data_of(source: str, folder: str | None, task: str) -> FitData:
    """Training data of ML-100K or the toy data (protocol all), or of a log "synthetic:ROWS"."""
    from raypipe.backbones.contract import RatingQueries
    from raypipe.backbones.interaction_matrices import InteractionMatrices
    from raypipe.data.config import DataConfig
    from raypipe.data.dataset import read
    from raypipe.data.split import make_split

    if source.startswith("synthetic:"):
        data = synthetic(int(source.partition(":")[2]))
        if task == "rating":
            queries = data.validation
            ratings = np.ones(len(queries.user), np.float32)
            data = replace(data, validation=RatingQueries(queries.user, queries.target, ratings))
        return data
    config = DataConfig(name=source, dir=folder)
    dataset = read(config)
    return InteractionMatrices(dataset, make_split(dataset.interactions, config, 3)).fit_data(task)


def peak() -> float:
    """Peak memory of this process in MiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(
    task: str, name: str, data: FitData, seconds: float, given: dict[str, Any]
) -> dict[str, float]:
    """Train for at least one epoch and about `seconds`, then evaluate once."""
    import torch

    from raypipe.backbones import registry
    from raypipe.backbones.adam import Adam
    from raypipe.backbones.allocator import keep_freed
    from raypipe.backbones.fit import validate
    from raypipe.seeding import generator

    options = registry.options(task, name, given)
    before = peak()
    keep_freed()
    torch.manual_seed(0)
    began = time.perf_counter()
    model = registry.find(task, name).Model(data, options)
    built = time.perf_counter() - began
    parameters = list(model.parameters())
    rows, spent = 0, 0.0
    if parameters:
        optimizer = Adam(model, model.lazy, options.learning_rate)
        model.train()
        epoch = 0
        while spent < seconds:
            began = time.perf_counter()
            done = True
            for batch in model.batches(data, generator(0, "epoch", epoch)):
                optimizer.zero_grad()
                model.loss(*batch).backward()
                optimizer.step()
                rows += len(batch[0])
                if time.perf_counter() - began + spent > max(seconds, 1) * 3:
                    done = False
                    break
            spent += time.perf_counter() - began
            epoch += 1
            if not done:
                break
        if task == "sequential":  # windows are batches here; a row is a position that is predicted
            rows = int(rows / max(1, _windows(model, data)) * (len(data.sequences.values)))
    began = time.perf_counter()
    validate(model, data, 0)
    evaluation = time.perf_counter() - began
    rate = rows / spent if spent else len(data.user) / built
    return {
        "rows_per_second": rate,
        "seconds_per_epoch": len(data.user) / rate,
        "evaluation_seconds": evaluation,
        "peak_mib": peak() - before,
        "build_seconds": built,
    }


def _windows(model: SequenceRanker, data: FitData) -> int:
    from raypipe.seeding import generator

    return sum(len(batch[0]) for batch in model.batches(data, generator(0, "count")))


def measure_public(
    label: str, data: FitData, seconds: float, batch_size: int, size: int
) -> dict[str, float] | None:
    """Measure a public implementation; None if it is not installed."""
    before = peak()
    try:
        if label == "torch-geometric LightGCN":
            rate = _pyg(data, seconds, batch_size, size)
        elif label == "implicit BPR":
            rate = _implicit(data, seconds, size)
        else:
            rate = _deepctr(label.split()[-1], data, seconds, batch_size, size)
    except ImportError:
        return None
    return {
        "rows_per_second": rate,
        "seconds_per_epoch": len(data.user) / rate,
        "peak_mib": peak() - before,
    }


def _pyg(data: FitData, seconds: float, batch_size: int, size: int) -> float:
    """The loop of torch-geometric's examples/lightgcn.py."""
    import torch
    from torch_geometric.nn import LightGCN

    nodes = data.n_users + data.n_items
    model = LightGCN(nodes, size, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    left, right = torch.tensor(data.user), torch.tensor(data.item) + data.n_users
    edges = torch.cat([torch.stack([left, right]), torch.stack([right, left])], dim=1)
    began, rows = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for pick in torch.randperm(len(left)).split(batch_size):
            positive = torch.stack([left[pick], right[pick]])
            negative = torch.stack([left[pick], torch.randint(data.n_users, nodes, (len(pick),))])
            optimizer.zero_grad()
            rank = model(edges, torch.cat([positive, negative], dim=1)).chunk(2)
            model.recommendation_loss(
                rank[0], rank[1], node_id=torch.cat([positive, negative], dim=1).unique()
            ).backward()
            optimizer.step()
            rows += len(pick)
            if time.perf_counter() - began > seconds:
                break
    return rows / (time.perf_counter() - began)


def _implicit(data: FitData, seconds: float, size: int) -> float:
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    from scipy import sparse

    matrix = sparse.csr_matrix(
        (np.ones(len(data.user), np.float32), (data.user, data.item)),
        shape=(data.n_users, data.n_items),
    )
    rows, spent, epochs = 0, 0.0, 1
    while spent < seconds:
        model = BayesianPersonalizedRanking(factors=size, iterations=epochs, num_threads=2)
        began = time.perf_counter()
        model.fit(matrix, show_progress=False)
        spent, rows, epochs = time.perf_counter() - began, len(data.user) * epochs, epochs * 4
    return rows / spent


def _deepctr(model: str, data: FitData, seconds: float, batch_size: int, size: int) -> float:
    """deepctr-torch on the two ids and all side features, one epoch after another."""
    import deepctr_torch.models as models
    from deepctr_torch.inputs import SparseFeat

    columns = [data.user, *data.user_codes[data.user].T, data.item, *data.item_codes[data.item].T]
    sizes = [data.n_users, *data.user_sizes, data.n_items, *data.item_sizes]
    fields = [
        SparseFeat(f"f{n}", vocabulary_size=s, embedding_dim=size) for n, s in enumerate(sizes)
    ]
    network = getattr(models, model)(fields, fields, task="regression", device="cpu")
    network.compile("adam", "mse")
    inputs = {f"f{n}": c for n, c in enumerate(columns)}
    rows, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        network.fit(inputs, data.rating, batch_size=batch_size, epochs=1, verbose=0)
        rows += len(data.user)
    return rows / (time.perf_counter() - began)


def child(arguments: argparse.Namespace) -> None:
    """One measurement, printed as JSON."""
    from raypipe.backbones import registry

    task = registry.task_of(arguments.one)
    data = data_of(arguments.source, arguments.data_dir, task)
    options = registry.options(task, arguments.one, json.loads(arguments.options))
    if arguments.public:
        found = measure_public(
            arguments.public, data, arguments.seconds, options.batch_size, options.embedding_size
        )
    else:
        found = measure(task, arguments.one, data, arguments.seconds, json.loads(arguments.options))
    print(json.dumps(found))


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--data", default="toy", help="toy, or ml_100k with --data-dir")
    p.add_argument("--data-dir", help="folder of ML-100K's files; implies --data ml_100k")
    p.add_argument(
        "--rows",
        default="",
        help="synthetic logs of so many rows, comma-separated, instead of --data",
    )
    p.add_argument("--backbones", default="", help="comma-separated; all where empty")
    p.add_argument(
        "--seconds", type=float, default=5.0, help="training time a measurement, at least"
    )
    p.add_argument(
        "--rounds",
        type=int,
        default=1,
        help="measurements of each model, of which the median is printed",
    )
    p.add_argument(
        "--options", default="{}", help='hyper-parameters as JSON, e.g. {"batch_size": 2048}'
    )
    p.add_argument("--one", help=argparse.SUPPRESS)
    p.add_argument("--source", help=argparse.SUPPRESS)
    p.add_argument("--public", help=argparse.SUPPRESS)
    arguments = p.parse_args()
    if arguments.one:
        child(arguments)
        return
    from raypipe.backbones import registry

    every = [n for task in registry.FOLDERS for n in registry.names(task)]
    names = [n for n in arguments.backbones.split(",") if n] or every
    data = "ml_100k" if arguments.data_dir else arguments.data
    sources = [f"synthetic:{n}" for n in arguments.rows.split(",") if n] or [data]
    print(
        "| data | model | rows/s | s/epoch | evaluation s | peak MiB | ratio to public |\n"
        "|---|---|---|---|---|---|---|"
    )
    for source in sources:
        for name in names:
            labels = ("", *PUBLIC.get(name, ()))
            found: dict[str, list[dict[str, float]]] = {label: [] for label in labels}
            failed: dict[str, str] = {}
            for _ in range(arguments.rounds):
                for label in labels:
                    result = in_child(arguments, name, source, label)
                    if isinstance(result, str):
                        failed[label] = result
                    else:
                        found[label].append(result)
            for label in labels:
                print(
                    line(
                        source,
                        label or name,
                        failed.get(label),
                        found[label],
                        found[""] if label else [],
                    ),
                    flush=True,
                )


def in_child(
    arguments: argparse.Namespace, name: str, source: str, public: str
) -> dict[str, float] | str:
    """One measurement in a separate process, or the reason why it failed."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.backbones",
        "--one",
        name,
        "--source",
        source,
        "--public",
        public,
        "--seconds",
        str(arguments.seconds),
        "--options",
        arguments.options,
    ]
    command += ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1]}"
    return json.loads(done.stdout.strip().splitlines()[-1]) or "not installed"


def line(
    source: str,
    label: str,
    failed: str | None,
    found: list[dict[str, float]],
    ours: list[dict[str, float]],
) -> str:
    """A row of the table with medians of the results.

    `ours`: results of the backbone that a public implementation is compared with.
    """
    if failed or not found:
        return f"| {source} | {label} | {failed} | | | | |"

    def median(key: str, results: list[dict[str, float]] = found) -> float:
        return statistics.median(result[key] for result in results)

    ratio = f"{median('rows_per_second', ours) / median('rows_per_second'):.1f}" if ours else ""
    evaluation = f"{median('evaluation_seconds'):.3f}" if "evaluation_seconds" in found[0] else ""
    return (
        f"| {source} | {label} | {median('rows_per_second'):,.0f} "
        f"| {median('seconds_per_epoch'):.2f} | {evaluation} | "
        f"{median('peak_mib'):,.0f} | {ratio} |"
    )


if __name__ == "__main__":
    main()
