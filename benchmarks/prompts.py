"""How fast the prompts of a wave are built, the starts of tasks and processes included.

    python -m benchmarks.prompts --data ml-100k --data-dir DIR

The stage runs as in a pipeline, over lists and similar users that are drawn at random, as what they hold makes no difference here;
more than once, as the first time starts the processes. Of a toy dataset: --data toy.
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
    """Write what the stage reads: data, split, and lists and similar users of each backbone and seed; its inputs."""
    dataset = read(config.data)
    source = InteractionMatrices(
        dataset, make_split(dataset.interactions, config.data, config.llm.tune.holdout)
    )
    inputs = {"data": ("data", KEY), "split": ("split", KEY)}
    for name, save in (("data", dataset.save), ("split", source.split.save)):
        with store.writing(name, KEY, {}) as out:
            save(out)
    rng = np.random.default_rng(0)
    asked = pd.concat(
        [source.target_rows("direct", part).assign(split=part) for part in ("validation", "test")]
    )[[USER, "split"]]
    ids, users = source.items.to_numpy(object), source.users.to_numpy(object)
    for seed in config.repetitions:
        for backbone in config.backbones["direct"]:
            name = f"seed{seed}/augmented/{backbone}"
            drawn = [
                list(rng.choice(ids, min(config.k_prime, len(ids)), replace=False))
                for _ in range(len(asked))
            ]
            with store.writing(name, KEY, {}) as out:
                asked.assign(items=drawn).to_parquet(out / "lists.parquet", index=False)
                pd.DataFrame({USER: users, "similar": rng.permutation(users)}).to_parquet(
                    out / "similar.parquet", index=False
                )
            inputs[f"model/{seed}/{backbone}"] = (name, KEY)
    return inputs


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--data", default="toy")
    p.add_argument("--data-dir")
    p.add_argument("--seeds", type=int, default=5)
    p.add_argument("--times", type=int, default=3)
    options = p.parse_args()
    given = {
        "data.name": options.data.replace("-", "_"),
        "seeds": options.seeds,
        "tasks": ["direct"],
        "backbones": {"direct": list(BACKBONES)},
        "rerank.pointwise": False,
    }
    config = load("toy", given | ({"data.dir": options.data_dir} if options.data_dir else {}))
    stage = Stage("prompts/llama4rec", partial(prompts, config=config, kind="llama4rec"))
    with tempfile.TemporaryDirectory() as folder, session.connected(lambda line: None):
        store = Store(folder)
        inputs = prepare(store, config)
        for _ in range(options.times):
            began = time.perf_counter()
            rows = perform(store, stage, KEY, inputs)["facts"]["rows"]
            seconds = time.perf_counter() - began
            print(
                f"{rows:,} prompts of {len(inputs) - 2} backbones and seeds in {seconds:.1f} s: {rows / seconds:,.0f} a second"
            )


if __name__ == "__main__":
    main()
