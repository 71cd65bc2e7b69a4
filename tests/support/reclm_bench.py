"""The first artifacts of a RecLM run, for tests of single stages."""

from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from transformers import AutoTokenizer

from raypipe.data.dataset import read
from raypipe.data.snapshot import make_snapshots
from raypipe.llm import embedded
from raypipe.llm.config import EmbeddedConfig
from raypipe.llm.scripted import script
from raypipe.papers.reclm import (
    teacher,
)
from raypipe.papers.reclm.config import load
from raypipe.papers.reclm.histories import (
    load_tables,
)
from raypipe.pipeline.stage import Context
from raypipe.pipeline.store import Store
from raypipe.schema import COMPLETIONS

SMALL = {
    "data.options": {"users": 80, "items": 80, "mean_length": 12, "arriving": 0.3},
    "teacher.users": 40,
    "teacher.items": 30,
}


@pytest.fixture(scope="module")
def config():
    return load("toy", SMALL)


class Bench:
    """A store with the artifacts of the first stages, and contexts for stages that read them."""

    def __init__(self, folder, config):
        self.store, self.config, self.number = Store(str(folder)), config, 0
        self.dataset = read(config.data)
        self.snapshots = make_snapshots(self.dataset.interactions, config.data, config.seed)
        self.keys = {}
        with self.making("data") as out:
            self.dataset.save(out)
        with self.making("snapshots") as out:
            self.snapshots.save(out)

    @contextmanager
    def making(self, name):
        self.keys[name] = f"{len(self.keys):064d}"
        with self.store.writing(name, self.keys[name], {"facts": {}}) as out:
            yield out

    def context(self, **inputs):
        """A stage's context; inputs: local name -> name of an artifact."""
        self.number += 1
        out = self.store.root + f"/out{self.number}"
        import pathlib

        pathlib.Path(out).mkdir()
        read = {"data": "data", "snapshots": "snapshots", **inputs}
        return Context(
            self.store,
            "tested",
            "k",
            pathlib.Path(out),
            out + "-scratch",
            {k: (v, self.keys[v]) for k, v in read.items()},
        )


@pytest.fixture
def bench(tmp_path, config):
    new_bench = Bench(tmp_path, config)
    for side in ("user", "item"):
        with new_bench.making(f"teacher/{side}s") as out:
            inputs = {"users": "teacher/users"} if side == "item" else {}
            ctx = new_bench.context(**inputs)
            teacher.teach(ctx, config, side)
            (out / teacher.FILE).write_bytes((ctx.out / teacher.FILE).read_bytes())
    source = load_tables(new_bench.context())
    similar = np.stack([np.roll(np.arange(len(source.users)), -n) for n in (1, 2, 3)], 1)
    with new_bench.making("neighbours") as out:
        np.save(out / "similar.npy", similar)
    return new_bench


def answer(bench, name, ctx, words=script):
    """Let the scripted engine answer the prompts of a stage.

    Writes the artifacts prompts/NAME and completions/NAME.
    """
    prompts = pd.concat(
        [pd.read_parquet(f) for f in sorted((ctx.out / "prompts").glob("*.parquet"))]
    )
    with bench.making(f"prompts/{name}") as out:
        (out / "prompts").mkdir()
        prompts.to_parquet(out / "prompts" / "all.parquet", index=False)
    rows = pd.DataFrame([words(row) for row in prompts.itertuples()])
    rows["logprobs"] = [np.empty(0, np.float32)] * len(rows)
    with bench.making(f"completions/{name}") as out:
        COMPLETIONS.from_frame(rows, name)
        rows.to_parquet(out / "completions.parquet", index=False)
    return prompts


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llm")
    text = (
        "Users are judged. User 1: User identity: fan; User interests: golf. Will user 1 take it? "
        "Answer: Yes No"
    )
    embedded.build(
        [text] * 3, [], EmbeddedConfig(hidden_size=32, layers=1, heads=1, pieces=300), 0, folder
    )
    return AutoTokenizer.from_pretrained(folder)
