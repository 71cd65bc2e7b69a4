"""How fast the prompts of a wave are built, with the start of tasks and processes.

    python -m benchmarks.prompts --data ml-100k --data-dir DIR

The stage runs as in a pipeline. Its candidate lists and similar users are drawn at random, because
their content does not change the speed. It runs several times: the first one starts the processes.
A small run needs no data: --data toy.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial

import numpy as np
import pandas as pd

from raypipe.backbones.interaction_matrices import InteractionMatrices
from raypipe.cluster import session
from raypipe.data.dataset import read
from raypipe.data.split import make_split
from raypipe.papers.llama4rec.config import Llama4RecConfig, load
from raypipe.papers.llama4rec.prompts import prompts
from raypipe.pipeline.runner import perform
from raypipe.pipeline.stage import Stage
from raypipe.pipeline.store import Store
from raypipe.schema import USER

BACKBONES = ("mf", "light_gcn", "mix_gcf", "sgl")
KEY = "0" * 64


def prepare(store: Store, config: Llama4RecConfig) -> dict[str, tuple[str, str]]:
    """Write the artifacts that the stage reads: data, split, lists and similar users.

    Returns:
        The inputs of the stage.
    """
    dataset = read(config.data)
    source = InteractionMatrices(
        dataset, make_split(dataset.interactions, config.data, config.llm.tune.holdout)
    )
    inputs = {"data": ("data", KEY), "split": ("split", KEY)}
    for name, save in (("data", dataset.save), ("split", source.split.save)):
        with store.writing(name, KEY, {}) as out:
            save(out)
    rng = np.random.default_rng(0)
    parts = []
    for part in ("validation", "test"):
        parts.append(source.target_rows("direct", part).assign(split=part))
    user_rows = pd.concat(parts)[[USER, "split"]]
    ids, users = source.items.to_numpy(object), source.users.to_numpy(object)
    for seed in config.repetitions:
        for backbone in config.backbones["direct"]:
            name = f"seed{seed}/augmented/{backbone}"
            lists = []
            for _ in range(len(user_rows)):
                lists.append(list(rng.choice(ids, min(config.k_prime, len(ids)), replace=False)))
            similar = pd.DataFrame({USER: users, "similar": rng.permutation(users)})
            with store.writing(name, KEY, {}) as out:
                user_rows.assign(items=lists).to_parquet(out / "lists.parquet", index=False)
                similar.to_parquet(out / "similar.parquet", index=False)
            inputs[f"model/{seed}/{backbone}"] = (name, KEY)
    return inputs


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="toy", help="dataset")
    parser.add_argument("--data-dir", help="folder of its files")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--times", type=int, default=3, help="how often the stage runs")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    settings = {
        "data.name": options.data.replace("-", "_"),
        "seeds": options.seeds,
        "tasks": ["direct"],
        "backbones": {"direct": list(BACKBONES)},
        "rerank.pointwise": False,
    }
    if options.data_dir:
        settings["data.dir"] = options.data_dir
    config = load("toy", settings)
    stage = Stage("prompts/llama4rec", partial(prompts, config=config, kind="llama4rec"))
    with tempfile.TemporaryDirectory() as folder, session.connected(lambda line: None):
        store = Store(folder)
        inputs = prepare(store, config)
        for _ in range(options.times):
            started = time.perf_counter()
            rows = perform(store, stage, KEY, inputs)["facts"]["rows"]
            seconds = time.perf_counter() - started
            print(
                f"{rows:,} prompts of {len(inputs) - 2} backbones and seeds in {seconds:.1f} s: "
                f"{rows / seconds:,.0f} per second"
            )


if __name__ == "__main__":
    main()
