"""RecLM on small toy data with TRL, DeepSpeed and a real LLM.

It is killed with SIGKILL in tuning, in reinforcement learning and while profiles are written, and
continued; its bundle answers for a new user and a new item.
"""

import json
import os
import re
import sys

import numpy as np
import pandas as pd
import pytest

from raypipe.data.dataset import Dataset
from raypipe.data.snapshot import TEST, Snapshots
from raypipe.errors import UnknownError
from raypipe.prompts.profiles import ProfileForm
from tests.support.jobs import finish, kill_when, serving
from tests.support.paths import ROOT
from tests.support.processes import free_port

pytestmark = pytest.mark.slow
SETTINGS_OF_TEST = ("full-shot", "zero-shot")
SHARDED = f'"zero_stage": 3, "workers": {min(2, os.cpu_count() or 1)}'


SETTINGS = [
    'data.options={"users": 60, "items": 60, "mean_length": 12, "arriving": 0.3}',
    'backbone_options={"light_gcn": {"epochs": 15}, "bias_mf": {"epochs": 15}}',
    'llm.embedded={"epochs": 3, "hidden_size": 32, "intermediate_size": 64, "heads": 1, '
    '"pieces": 400}',
    'llm.distil={"epochs": 6, "learning_rate": 3e-3, "max_length": 512}',
    f'llm.dialogue={{"epochs": 4, "dialogues": 40, "max_length": 1024, {SHARDED}}}',
    'llm.items={"epochs": 2, "max_length": 1024}',
    'llm.reward={"epochs": 2, "pairs": 80, "max_length": 1024}',
    'llm.policy={"episodes": 24, "rounds": 3, "batch_size": 8}',
    'teacher={"users": 30, "items": 20}',
    'profiles={"history": 2, "neighbours": 1, "phrase": 12, "user_phrases": 2, "item_phrases": 2}',
    'rows=["augment", "wo_user"]',
    "case=u0003",
    'backbones=["light_gcn", "bias_mf"]',
    "llm.engine.name=transformers",
    "checkpoint_seconds=0",
]


FORM = ProfileForm(2, 12).pattern


def command(out, more=()):
    settings = {s.partition("=")[0]: s for s in (*SETTINGS, *more)}  # one value for each
    options = [part for s in settings.values() for part in ("--set", s)]
    return [sys.executable, str(ROOT / "jobs" / "reclm_pipeline.py"), "--out", str(out), *options]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "reclm"
    log = out.parent / "reclm.log"
    for stage, files, what in (
        ("llm.dialogue-*", "checkpoint_*", "a checkpoint of tuning"),
        ("llm.policy-*", "checkpoint_*", "a checkpoint of reinforcement learning"),
        (
            "completions.users-*",
            "completions/[!r]*.parquet",
            "a profile",
        ),  # reused.parquet holds what an earlier wave was asked
    ):
        kill_when(
            out,
            log,
            lambda s=stage, f=files: any((out / "scratch").glob(f"{s}/{f}")),
            what,
            command,
        )
    return out, finish(out, log, command), log.read_text()


def test_a_killed_run_resumes(run):
    _, report, log = run
    assert log.count("continuing from a checkpoint") >= 2
    assert re.search(r"[1-9][\d,]* of [\d,]+ prompts were answered before", log)
    assert not re.search(r"worker \d+ failed", log), "a fault that a retry would hide still counts"
    (users,) = (s["facts"] for s in report["stages"] if s["name"] == "completions/users")
    assert users["generated"] < users["rows"] - users["reused"], (
        "the reported speed excludes the part before the kill"
    )
    assert all(s["seconds"] >= 0 for s in report["stages"])


def test_the_report_has_every_row_with_its_test_and_the_random_orders(run):
    _, report, _ = run
    rows = {(r["setting"], r["backbone"], r["row"], r["metric"]) for r in report["results"]}
    settings, metrics = ("full-shot", "zero-shot"), ("R@20", "R@40", "N@20", "N@40")
    wanted = {(s, "popularity", "base", m) for s in settings for m in metrics}
    wanted |= {
        (s, b, r, m)
        for s in settings
        for b in ("light_gcn", "bias_mf")
        for r in ("base", "augment", "wo_user")
        for m in metrics
    }
    assert rows == wanted
    assert all(("p" in r) == (r["row"] != "base") for r in report["results"])
    assert all(("augment_p" in r) == (r["row"] == "wo_user") for r in report["results"])
    assert all(len(v) == 20 for own in report["random"].values() for v in own.values())
    kinds = {line["kind"]: line for line in report["education"]["reward-accuracy"]}
    assert len(kinds) >= 4 and all(0 <= line["accuracy"] <= 1 for line in kinds.values())
    (tuned,) = (s["facts"] for s in report["stages"] if s["name"] == "llm/dialogue")
    assert tuned["rows"] > 30 and tuned["too_long"] == 0
    smoothing = report["education"]["smoothing"]
    assert smoothing["rows"] > 10 and all(
        -1 <= v <= 1 for at in ("before", "after") for v in smoothing[at].values()
    )
    assert len(smoothing["before"]) == len(smoothing["after"]) == 2
    assert report["case"]["user"] == "u0003" and all(
        re.fullmatch(FORM, f" {report['case'][at]}") for at in ("before", "after")
    )
    assert {w["name"] for w in report["llm"]["waves"]} == {
        "distilled",
        "users",
        "items-warm",
        "items-cold",
        "sample",
    }


def test_no_profile_is_malformed_and_each_is_stored_with_its_prompt_and_model(run):
    out, report, _ = run
    for wave in ("users", "items-warm", "items-cold"):
        made = pd.read_parquet(out / "profiles" / f"{wave}.parquet")
        assert (
            len(made)
            and made["prompt_hash"].str.len().eq(64).all()
            and made["model"].str.startswith("llm/").all()
        )
        fits = made["profile"].map(lambda p: bool(re.fullmatch(FORM, f" {p}")))
        assert fits.all(), made["profile"][~fits].tolist()
    for stage in report["stages"]:
        assert not stage["facts"].get("rejected"), stage


def test_metrics_equal_those_of_a_simple_loop(run):
    """Popularity, whose scores anybody can count, by hand; ties make it a range."""
    out, report, _ = run
    rows = Snapshots.load(out / "bundle" / "snapshots").rows
    first, test = rows[rows["part"] != "test"], rows[rows["part"] == "test"]
    count = first["item_id"].value_counts()
    catalogue = sorted(test["item_id"].unique())
    low, high = [], []
    for user, own in test.groupby("user_id"):
        seen = set(first.loc[first["user_id"] == user, "item_id"])
        scores = {i: count.get(i, 0) for i in catalogue if i not in seen}
        above = [sum(s > scores[i] for s in scores.values()) for i in own["item_id"]]
        level = [sum(s >= scores[i] for s in scores.values()) for i in own["item_id"]]
        high.append(np.mean([a < 20 for a in above]))
        low.append(np.mean([n <= 20 for n in level]))
    (got,) = (
        r["mean"]
        for r in report["results"]
        if (r["setting"], r["backbone"], r["metric"]) == ("full-shot", "popularity", "R@20")
    )
    assert np.mean(low) - 1e-6 <= got <= np.mean(high) + 1e-6 and np.mean(high) > 0.1


def test_the_bundle_serves_new_items_and_new_users(run):
    from raypipe.papers.contract import NewItem
    from raypipe.papers.reclm.recommender import Recommender

    out, _, _ = run
    served = Recommender(out / "bundle")
    user = str(served.tables.users[0])
    known = served.recommend(user_id=user, k=5)
    assert (
        [i.rank for i in known.items] == [1, 2, 3, 4, 5]
        and not any(i.new for i in known.items)
        and known.profile
    )
    seen = set(served.tables.items[served.histories.row(0)])
    assert not {i.item_id for i in known.items} & seen
    item = served.dataset.items.iloc[0]
    new = NewItem(
        "brand-new", "A film that came yesterday", item["text"], (item["genre"], item["decade"])
    )
    everything = served.recommend(user_id=user, k=60, new_items=[new])
    (one,) = (i for i in everything.items if i.new)
    assert one.item_id == "brand-new" and re.fullmatch(FORM, f" {one.profile}")
    history = [str(i) for i in served.tables.items[served.histories.row(3)]]
    guest = served.recommend(history=history, k=5, new_items=[new])
    assert guest.profile_is_new and re.fullmatch(FORM, f" {guest.profile}")
    assert not {i.item_id for i in guest.items} & set(history)
    with pytest.raises(UnknownError, match="no user 'stranger'"):
        served.recommend(user_id="stranger")
    with pytest.raises(UnknownError, match="no item 'nothing'"):
        served.recommend(history=["nothing"])
    with pytest.raises(ValueError, match="an id of its own"):
        served.recommend(user_id=user, new_items=[new._replace(item_id=history[0])])


@pytest.mark.parametrize("setting", SETTINGS_OF_TEST)
def test_the_served_list_of_every_user_is_the_one_that_was_evaluated(run, setting):
    """Rank the evaluated catalogue by serving, and compare lists and metrics with evaluation."""
    from raypipe.backbones.scoring import top_sets
    from raypipe.papers.reclm.backbones import DEPTH, set_metrics
    from raypipe.papers.reclm.recommender import Recommender

    out, _, _ = run
    served = Recommender(out / "bundle")
    users, items = served.tables.users, served.tables.items
    (fit,) = (out / "stages").glob(f"seed0.augment.{served.backbone}-*/answers.parquet")
    evaluated = pd.read_parquet(fit)
    evaluated = evaluated[evaluated["setting"] == setting].set_index("user_id")
    queries = served.tables.queries(TEST, setting)
    rankings, _ = top_sets(served.model, queries, DEPTH, served.seed)
    catalogue = items[queries.catalogue].tolist()
    assert len(evaluated) == len(queries.user) > 20
    for row, user in enumerate(users[queries.user]):
        seen = np.intersect1d(queries.seen.row(row), queries.catalogue)
        k = min(DEPTH, len(catalogue) - len(seen))
        answer = served.recommend(user_id=user, k=k, among=catalogue)
        names = [item.item_id for item in answer.items]
        assert names == items[rankings[row][:k]].tolist(), user
        targets = set(items[queries.targets.row(row)])
        correct = np.zeros((1, DEPTH), bool)
        correct[0, :k] = [name in targets for name in names]
        for metric, value in set_metrics(correct, np.array([len(targets)])).items():
            assert value[0] == pytest.approx(evaluated.loc[user, metric]), (user, metric)
        everything = served.recommend(user_id=user, k=100)
        among_all = [item.item_id for item in everything.items if item.item_id in catalogue]
        shown = len(among_all)
        assert shown and names[:shown] == among_all[:k], "items outside change no order"


def test_the_endpoint_answers_new_users_and_new_items_over_http(run):
    out, _, _ = run
    new = {
        "item_id": "brand-new",
        "title": "Raven of the Crypt (2025)",
        "text": "genre: Horror",
        "features": ["Horror", "2020s"],
    }
    port = free_port()
    raypipe_serve = [sys.executable, "-m", "raypipe", "serve", "--port", str(port)]
    with serving(raypipe_serve, port, out / "bundle", out.parent / "serve.log") as client:
        got = client.post(
            "/recommend", json={"history": ["m0000", "m0001"], "k": 59, "new_items": [new]}
        ).json()
        assert (
            len(got["items"]) == 59
            and got["profile_is_new"]
            and re.fullmatch(FORM, f" {got['profile']}")
        )
        (one,) = (i for i in got["items"] if i["new"])
        assert one["title"] == new["title"] and re.fullmatch(FORM, f" {one['profile']}")
        wrong = [
            ("/recommend", {"user_id": "nobody"}, 404, "nobody"),
            ("/recommend", {"history": ["m0000"], "task": "sequential"}, 404, "sequential"),
            (
                "/recommend",
                {"user_id": "u0003", "new_items": [{**new, "item_id": "m0000"}]},
                400,
                "an id of its own",
            ),
            ("/recommend", {"user_id": "u0003", "new_items": [{"item_id": "x"}]}, 422, "title"),
            ("/rate", {"user_id": "u0003", "item_id": "m0004"}, 404, "no rating model"),
        ]
        for path, body, code, word in wrong:
            answer = client.post(path, json=body)
            assert answer.status_code == code and word in answer.json()["error"], (
                body,
                answer.text,
            )


def test_a_second_run_computes_nothing(run):
    out, first, _ = run
    again = finish(out, out.parent / "again.log", command)
    assert all(s["cached"] for s in again["stages"]) and json.dumps(again["results"]) == json.dumps(
        first["results"]
    )


def test_a_newer_log_rewrites_only_the_profiles_that_changed(run):
    """The bundle's LLMs over a folder of files, then over the same with two more rows of a user."""
    out, _, _ = run
    data = Dataset.load(out / "bundle" / "dataset")
    folder = out.parent / "log"
    folder.mkdir()
    log = data.interactions[["user_id", "item_id", "timestamp"]]
    data.items[["item_id", "title", "text", *data.item_features]].to_csv(
        folder / "items.csv", index=False
    )
    more = (
        "data.name=folder",
        f"data.dir={folder}",
        "data.options={}",
        f"llm.keep={out / 'bundle'}",
        "case=null",
        'rows=["augment"]',
        'backbones=["bias_mf"]',
        'backbone_options={"light_gcn": {"epochs": 2}, "bias_mf": {"epochs": 2}}',
    )
    asked, prompts = [], []
    for number in range(2):
        log.to_csv(folder / "interactions.csv", index=False)
        target = out.parent / "refreshed"
        report = finish(target, out.parent / f"refresh{number}.log", lambda to: command(to, more))
        wave = next(w for w in report["llm"]["waves"] if w["name"] == "users")
        asked.append((wave["rows"], wave["rows"] - wave["known"]))
        prompts.append(
            pd.read_parquet(target / "profiles" / "users.parquet").set_index(["as_of", "id"])[
                "prompt_hash"
            ]
        )
        names = {s["name"] for s in report["stages"]}
        assert {"llm/kept-users", "llm/kept-items"} <= names and not names & {
            "llm/base",
            "llm/dialogue",
            "teacher/users",
        }
        assert str(out) not in json.dumps(report["run"]), (
            "the report names no folder of this machine"
        )
        before = log[log["timestamp"] < 1.58e9]
        user = before["user_id"].iloc[0]
        unseen = [
            i
            for i in before["item_id"].unique()
            if i not in set(log.loc[log["user_id"] == user, "item_id"])
        ][:2]
        rows = pd.DataFrame({"user_id": user, "item_id": unseen, "timestamp": 1.58e9 - 1})
        log = pd.concat([log, rows])
    (all_first, asked_first), (_, asked_second) = asked
    assert asked_first > 0.5 * all_first, (
        "the prompts are new to the LLMs: items of a folder are not called films"
    )
    before, after = prompts[0].align(prompts[1])
    changed = before.index[before != after]
    assert user in changed.get_level_values("id") and len(changed) < 0.3 * all_first
    # a changed prompt may be one that another user had, and so be known
    assert asked_second <= len(changed)
    kept = next(s["facts"] for s in report["stages"] if s["name"] == "neighbours")
    assert kept["as before"] >= 0.8 * kept["rows"]
