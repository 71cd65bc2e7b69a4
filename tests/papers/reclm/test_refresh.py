"""A newer log over the LLMs of a bundle."""

import json
import shutil

import numpy as np
import pytest

from raypipe.data.snapshot import TRAIN, Snapshots
from raypipe.errors import RaypipeError
from raypipe.papers.reclm import (
    backbones,
    refresh,
    stages,
)
from raypipe.papers.reclm.config import load
from raypipe.papers.reclm.histories import (
    load_tables,
)
from tests.support.reclm_bench import SMALL


def keys(config):
    stage_keys = {}
    for stage in stages.plan(config):
        stage_keys[stage.name] = stage.key(stage_keys)
    return stage_keys


@pytest.fixture
def bundled(bench, config, tmp_path):
    """A bundle as far as a refresh reads it."""
    folder = tmp_path / "bundle"
    for source, target in (
        ("data", "dataset"),
        ("snapshots", "snapshots"),
        ("neighbours", "neighbours"),
    ):
        shutil.copytree(bench.store.local(source, bench.keys[source]), folder / target)
    for side in ("users", "items"):
        (folder / "llm" / side).mkdir(parents=True)
        (folder / "llm" / side / "model.safetensors").write_text(side)
    facts = {"paper": "reclm", "format": 2, "config": config.model_dump(mode="json")}
    (folder / "bundle.json").write_text(json.dumps(facts))
    return folder


def test_kept_llms_replace_the_tuning_stages(bundled):
    names = [
        s.name
        for s in stages.plan(load("toy", {**SMALL, "rows": ["augment"], "llm.keep": str(bundled)}))
    ]
    assert {
        "llm/kept-users",
        "llm/kept-items",
        "completions/users",
        "completions/items-cold",
        "bundle",
    } <= set(names)
    assert not [
        n
        for n in names
        if n.startswith(("teacher", "reward", "llm/base", "llm/d", "llm/policy", "examples"))
    ]
    keys = [
        {
            s.name: s.key({i: "k" for i in s.inputs.values()})
            for s in stages.plan(
                load("toy", {**SMALL, "rows": ["augment"], "llm.keep": str(bundled)})
            )
        }
        for _ in range(2)
    ]
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("change", "more", "error"),
    [
        ({"paper": None}, {}, "not a RecLM bundle with LLMs"),
        ({"format": 1}, {}, "the bundle has format 1"),
        ({}, {"rows": ["mask"]}, "no LLM for mask"),
        ({}, {"profiles.history": 9}, "tuned on other prompts"),
    ],
)
def test_a_bundle_that_cannot_be_kept_is_refused(bundled, change, more, error):
    facts = json.loads((bundled / "bundle.json").read_text())
    (bundled / "bundle.json").write_text(json.dumps(facts | change))
    with pytest.raises(RaypipeError, match=error):
        stages.plan(load("toy", {**SMALL, "rows": ["augment"], "llm.keep": str(bundled), **more}))


def test_users_with_an_unchanged_history_keep_their_similar_users(
    bench, bundled, config, monkeypatch
):
    source = load_tables(bench.context())
    new = np.zeros((len(source.users), 3), np.int32)

    monkeypatch.setattr(backbones, "similar_users", lambda ctx, config, name: new.copy())
    old = np.load(bundled / "neighbours" / "similar.npy")
    kept = config.model_copy(update={"llm": config.llm.model_copy(update={"keep": str(bundled)})})
    ctx = bench.context()
    assert refresh.neighbours(ctx, kept, "light_gcn") == {"rows": len(new), "as before": len(new)}
    assert np.array_equal(np.load(ctx.out / "similar.npy"), old)
    # in the bundle's snapshots one user lacks a row of today's training part
    rows = bench.snapshots.rows
    gone = rows.index[rows["part"] == TRAIN][0]
    Snapshots(rows.drop(gone)).save(bundled / "snapshots")
    ctx = bench.context()
    assert refresh.neighbours(ctx, kept, "light_gcn")["as before"] == len(new) - 1
    changed = source.users.get_loc(rows.loc[gone, "user_id"])
    similar = np.load(ctx.out / "similar.npy")
    assert not similar[changed].any() and np.array_equal(
        np.delete(similar, changed, 0), np.delete(old, changed, 0)
    )
