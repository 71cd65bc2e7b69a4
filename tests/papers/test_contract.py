"""Every paper fulfils the contract, and a third paper is one folder and nothing else."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from raypipe import config, papers
from raypipe.cli.main import main
from raypipe.errors import ArtifactError, ConfigError
from raypipe.papers import contract

ROOT = Path(__file__).parents[2]

#: a whole paper: it counts the items of a toy dataset, in two stages without an LLM
TINY = '''
"""A small paper: the most popular items."""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

from raypipe.config import Config
from raypipe.data.config import SourceConfig
from raypipe.errors import UnknownError
from raypipe.papers import contract
from raypipe.pipeline.stage import Stage
from raypipe.steps.dataset import read_stage


class TinyConfig(Config):
    """Everything that decides the numbers of a run."""

    data: SourceConfig = SourceConfig(options={"users": 30, "items": 60})
    longest: int = 5
    seeds: int = 1


def count(ctx, longest):
    import pandas as pd

    log = pd.read_parquet(ctx.input("data") / "interactions.parquet")
    counts = log["item_id"].value_counts().head(longest)
    (ctx.out / "counts.json").write_text(json.dumps(counts.index.tolist()))
    return {"rows": len(counts)}


class Item(NamedTuple):
    item_id: str
    title: str
    rank: int


class Answer(NamedTuple):
    items: list


class Recommender:
    def __init__(self, bundle):
        self.items = json.loads((bundle / "bundle.json").read_text())["items"]

    @property
    def tasks(self):
        return ["direct"]

    def recommend(self, user_id=None, history=None, k=10, task=None, new_items=()):
        return Answer([Item(name, name, n) for n, name in enumerate(self.items[:k], 1)])

    def rate(self, user_id, item_id):
        raise UnknownError("no ratings")

    def check(self):
        self.recommend(k=1)


class Tiny(contract.Paper):
    name = "tiny"
    title = "Tiny: the most popular items"
    Config = TinyConfig
    presets = Path(__file__).parent / "presets"
    options = (contract.Option("longest", "items of the list"),)
    run_prefix = "tiny-"

    def settings(self, options):
        return {name: int(text) for name, text in options.items()}

    def plan(self, config):
        self.check(config)
        body = partial(count, longest=config.longest)
        return [
            read_stage(config.data, "data"),
            Stage("counts", body, {"data": "data"}, [config.longest], "driver"),
        ]

    def check(self, config):
        pass

    def check_resources(self, config):
        pass

    def publish(self, config, store, record, began):
        key = record[-1].key
        items = json.loads((store.local("counts", key) / "counts.json").read_text())
        bundle = Path(store.uri) / "bundle"
        bundle.mkdir(exist_ok=True)
        (bundle / "bundle.json").write_text(json.dumps({"paper": "tiny", "items": items}))
        return f"{len(items)} items"

    def recommender(self, bundle):
        return Recommender(bundle)


PAPER = Tiny()
'''


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A third paper in a folder of its own."""
    folder = tmp_path / "papers" / "tiny"
    (folder / "presets").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "paper.py").write_text(TINY)
    (folder / "presets" / "toy.yaml").write_text("longest: 7\n")
    monkeypatch.setattr(papers, "__path__", [*papers.__path__, str(folder.parent)])
    importlib.invalidate_caches()
    yield folder
    for name in [n for n in sys.modules if n.startswith("raypipe.papers.tiny")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", contract.names())
def test_a_paper_has_the_parts_of_the_contract(name):
    paper = contract.find(name)
    assert isinstance(paper, contract.Paper) and paper.name == name and paper.title
    shipped = config.presets(paper.presets)
    assert "toy" in shipped
    for preset in shipped:
        loaded = config.load(paper.Config, paper.presets, preset)
        assert len(paper.plan(loaded)) > 5
        paper.check(loaded)
    assert len({option.name for option in paper.options}) == len(paper.options)


@pytest.mark.parametrize("name", contract.names())
def test_finding_a_paper_imports_nothing_heavy(name):
    code = (
        f"import sys; from raypipe.papers import contract; contract.find({name!r});"
        "print(sorted(set(sys.modules) & {'ray', 'torch', 'vllm', 'transformers'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_papers_are_found_by_listing_and_a_wrong_name_gets_the_nearest(tiny):
    assert contract.names() == ["llama4rec", "reclm", "tiny"]
    with pytest.raises(ConfigError, match="did you mean reclm"):
        contract.find("recml")


def test_a_bundle_names_its_paper_and_without_a_name_it_is_of_llama4rec(tmp_path, tiny):
    for head, name in (
        ({}, "llama4rec"),
        ({"paper": "reclm"}, "reclm"),
        ({"paper": "tiny"}, "tiny"),
    ):
        (tmp_path / "bundle.json").write_text(json.dumps(head))
        assert contract.paper_of(tmp_path).name == name
    (tmp_path / "bundle.json").write_text(json.dumps({"paper": "tomorrow"}))
    with pytest.raises(ArtifactError, match="'tomorrow', which this version does not have"):
        contract.paper_of(tmp_path)
    with pytest.raises(ArtifactError, match="is not a bundle"):
        contract.recommender_of(tmp_path / "absent")


def test_the_server_serves_a_third_paper(tmp_path, tiny):
    (tmp_path / "bundle.json").write_text(json.dumps({"paper": "tiny", "items": ["a", "b", "c"]}))
    recommender = contract.recommender_of(tmp_path)
    recommender.check()
    assert [item.item_id for item in recommender.recommend("u", k=2).items] == ["a", "b"]


def test_the_command_plans_a_third_paper(tmp_path, tiny, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "tiny", "--longest", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["data", "counts"]
    assert main(["run", "--help"]) == 0 and "tiny" in capsys.readouterr().out
    assert main(["config", "show", "tiny", "--longest", "3"]) == 0
    assert "longest: 3  # command line" in capsys.readouterr().out
    assert main(["run", "tiny", "--longst", "3"]) == 2
    assert "--longest" in capsys.readouterr().err


@pytest.mark.slow
def test_a_third_paper_runs_and_recommends(tmp_path, tiny, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert main(["run", "tiny"]) == 0, capsys.readouterr()
    folder = tmp_path / "runs" / "tiny-toy"
    assert "7 items" in capsys.readouterr().out
    kept = folder / "config.yaml"
    assert "longest: 7  # preset toy" in kept.read_text()
    assert main(["plan", "tiny", "--preset", str(kept)]) == 0
    assert capsys.readouterr().out.count("  done  ") == 2
    assert main(["recommend", str(folder / "bundle"), "--user", "u0001", "-k", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
