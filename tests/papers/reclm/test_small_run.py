"""A whole run on small toy data in this process: real trainers of tiny LLMs, scripted answers."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import raypipe
from raypipe.data.snapshot import TEST
from raypipe.errors import UnknownError
from raypipe.papers.contract import NewItem
from raypipe.papers.reclm.backbones import METRICS, SETTINGS, set_metrics
from raypipe.papers.reclm.recommender import Recommender
from raypipe.papers.reclm.stages import plan
from raypipe.pipeline.runner import Runner
from raypipe.pipeline.store import Store
from raypipe.prompts.profiles import ProfileForm

CASE = "u0003"
PROFILES = {"history": 2, "neighbours": 1, "phrase": 12, "user_phrases": 2, "item_phrases": 2}
FORM = ProfileForm(PROFILES["user_phrases"], PROFILES["phrase"]).pattern
RUN = {
    "data": {
        "name": "toy",
        "options": {"users": 40, "items": 60, "mean_length": 10, "arriving": 0.3},
        "cut": 1.58e9,
    },
    "backbones": ("light_gcn", "bias_mf"),
    "backbone_options": {"light_gcn": {"epochs": 3}, "bias_mf": {"epochs": 3}},
    "rows": ("teacher", "wo_user", "augment"),
    "teacher": {"users": 20, "items": 15},
    "profiles": PROFILES,
    "encoder": {"max_tokens": 32},
    "llm": {
        "embedded": {
            "epochs": 1,
            "hidden_size": 32,
            "intermediate_size": 64,
            "heads": 1,
            "layers": 1,
            "pieces": 300,
        },
        "distil": {"epochs": 1, "max_length": 512},
        "dialogue": {"epochs": 1, "dialogues": 16, "max_length": 1024},
        "items": {"epochs": 1, "max_length": 1024},
        "reward": {"epochs": 1, "pairs": 24, "max_length": 1024},
        "policy": {"episodes": 8, "rounds": 1, "batch_size": 8},
        "engine": {"name": "scripted"},
    },
    "case": CASE,
}


class SmallRun:
    """A finished run: its folder, its configuration, its report, and the artifact of each stage."""

    def __init__(self, folder, config):
        self.folder, self.config = folder, config
        self.runner = Runner(plan(config), Store(str(folder)))
        self.report = json.loads((folder / "report.json").read_text())
        self.facts = {stage["name"]: stage["facts"] for stage in self.report["stages"]}

    def artifact(self, stage):
        return self.runner.store.local(stage, self.runner.keys[stage])

    def answers(self, wave):
        frame = pd.read_parquet(self.artifact(f"completions/{wave}") / "completions.parquet")
        return frame.set_index("prompt_id")["answer"]


@pytest.fixture(scope="module")
def run(one_process, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "run"
    config = raypipe.load_config("reclm", **RUN)
    raypipe.run(config, out=folder, progress=lambda line: None)
    return SmallRun(folder, config)


@pytest.fixture(scope="module")
def served(run):
    return Recommender(run.folder / "bundle")


def test_a_finished_run_is_not_done_again(run):
    assert all(planned.cached for planned in run.runner.plan())
    assert all(done.cached for done in run.runner.run())


def test_the_report_has_the_mean_of_every_users_metrics(run):
    lines = {}
    for row in run.report["results"]:
        lines[row["setting"], row["backbone"], row["row"], row["metric"]] = row
    expected = len(SETTINGS) * len(METRICS) * (1 + 2 * 4)
    assert len(lines) == len(run.report["results"]) == expected, "popularity has the row base alone"
    for (setting, backbone, row, metric), line in lines.items():
        stage = f"seed0/{row}/{backbone}"
        by_user = pd.read_parquet(run.artifact(stage) / "answers.parquet")
        values = by_user.loc[by_user["setting"] == setting, metric]
        assert line["mean"] == pytest.approx(values.mean()) and line["n_users"] == len(values)


def test_the_second_fit_has_the_epochs_that_validation_chose(run):
    for backbone in run.config.backbones:
        curves = []
        for stage in (f"seed0/augment/{backbone}@train", f"seed0/augment/{backbone}"):
            curves.append(json.loads((run.artifact(stage) / "curve.json").read_text()))
        first, second = curves
        best = max(first, key=lambda line: line["validation"])
        assert second[-1]["epoch"] == best["epoch"]


def test_a_text_is_encoded_once(run):
    vectors = {name: facts for name, facts in run.facts.items() if name.startswith("vectors/")}
    texts, stored = set(), 0
    for name, facts in vectors.items():
        stored += facts["encoded"]
        for file in run.artifact(name).glob("*.parquet"):
            texts |= set(pd.read_parquet(file)["text"])
    assert stored == len(texts - {""})
    assert vectors["vectors/users@first"]["encoded"] < vectors["vectors/users@first"]["texts"]


def test_the_profiles_have_their_origin(run):
    users = pd.read_parquet(run.folder / "profiles" / "users.parquet")
    assert set(users["as_of"]) == {"train", "first"}
    assert users.groupby("prompt_hash")["profile"].nunique().eq(1).all(), "a prompt has one answer"
    (writer,) = set(users["model"])
    assert writer.startswith("llm/policy-")
    assert all(re.fullmatch(FORM, f" {profile}") for profile in users["profile"])
    warm, cold = (
        pd.read_parquet(run.folder / "profiles" / f"items-{wave}.parquet")
        for wave in ("warm", "cold")
    )
    assert set(warm["model"]) == set(cold["model"]) != {writer}
    assert not set(zip(warm["id"], warm["as_of"])) & set(zip(cold["id"], cold["as_of"]))


def test_the_case_shows_the_profile_before_and_after_reinforcement_learning(run):
    case = run.report["case"]
    prompts = pd.read_parquet(run.artifact("prompts/sample") / "prompts")
    (prompt,) = prompts[prompts["user_id"] == CASE].itertuples()
    assert (case["user"], case["prompt"]) == (CASE, prompt.prompt)
    for when, wave in (("before", "sample"), ("after", "users")):
        assert case[when] == run.answers(wave).loc[prompt.prompt_id].strip()


def test_the_report_shows_how_tuning_went(run):
    education = run.report["education"]
    assert {"score first", "score last", "kl last"} <= set(education["llm/policy"])
    for line in education["reward-accuracy"]:
        assert 0 <= line["accuracy"] <= 1
    assert set(education["smoothing"]["after"]) == {"with the nearest user", "with a random user"}
    tuned = run.report["llm"]["tuning"]
    assert {"llm/base", "llm/distil", "llm/dialogue", "llm/items", "reward"} <= set(tuned)
    for line in run.report["epochs"]:
        assert line["overhead"] == pytest.approx(line["augment"] / line["base"] - 1)
    page = (run.folder / "report.html").read_text()
    assert CASE in page and "User identity" in page


@pytest.mark.parametrize("setting", SETTINGS)
def test_served_lists_have_the_measured_metrics(run, served, setting):
    validation = {}
    for backbone in run.config.backbones:
        facts = run.facts[f"seed0/augment/{backbone}@train"]
        validation[backbone] = facts["validation"]
    assert served.backbone == max(validation, key=validation.get)
    by_user = pd.read_parquet(run.artifact(f"seed0/augment/{served.backbone}") / "answers.parquet")
    by_user = by_user[by_user["setting"] == setting].set_index("user_id")
    questions = served.tables.queries(TEST, setting)
    catalogue = served.tables.items[questions.catalogue].tolist()
    for row, number in enumerate(questions.user[:8]):
        user = str(served.tables.users[number])
        targets = set(served.tables.items[questions.targets.row(row)])
        answer = served.recommend(user_id=user, k=40, among=catalogue)
        correct = np.zeros((1, 40), bool)
        for suggestion in answer.items:
            correct[0, suggestion.rank - 1] = suggestion.item_id in targets
        measured = set_metrics(correct, np.array([len(targets)]))
        for metric in METRICS:
            assert measured[metric][0] == pytest.approx(by_user.loc[user, metric], abs=1e-6)


def test_a_known_user_is_shown_with_the_profile_of_the_run(run, served):
    answer = served.recommend(user_id=CASE, k=5)
    users = pd.read_parquet(run.folder / "profiles" / "users.parquet")
    own = users[users["id"] == CASE].set_index("as_of")["profile"]
    assert answer.profile == own.get("first", own["train"]) and not answer.profile_is_new
    history = served.histories.row(served.tables.users.get_loc(CASE))
    assert not set(served.tables.items[history]) & {item.item_id for item in answer.items}
    assert [item.rank for item in answer.items] == [1, 2, 3, 4, 5]
    served.check()


def test_a_new_user_and_new_items_get_profiles_and_compete(served):
    history = [str(item) for item in served.tables.items[:3]]
    new = [NewItem("new-1", "A film about golf (2024)", "golf and more golf", ("Sport",))]
    answer = served.recommend(history=history, k=100, new_items=new)
    assert answer.profile_is_new and re.fullmatch(FORM, f" {answer.profile}")
    ranked = [item.item_id for item in answer.items]
    assert sorted(ranked) == sorted({*served.tables.items, "new-1"} - set(history))
    (arrived,) = (item for item in answer.items if item.new)
    assert arrived.title == "A film about golf (2024)" and arrived.profile
    known = served.recommend(user_id=CASE, k=1, among=history[:1], new_items=new)
    assert known.items[0].item_id in {"new-1", history[0]}


def test_a_request_that_cannot_be_answered_is_refused(served):
    item = str(served.tables.items[0])
    with pytest.raises(UnknownError, match="there is no user 'nobody'"):
        served.recommend(user_id="nobody")
    with pytest.raises(UnknownError, match="there is no item 'nothing'"):
        served.recommend(history=[item, "nothing"])
    with pytest.raises(UnknownError, match="has no sequential model"):
        served.recommend(user_id=CASE, task="sequential")
    with pytest.raises(UnknownError, match="has no rating model"):
        served.rate(CASE, item)
    with pytest.raises(ValueError, match="which no known item has"):
        served.recommend(user_id=CASE, new_items=[NewItem(item, "New")])
    with pytest.raises(ValueError, match="k must lie between"):
        served.recommend(user_id=CASE, k=0)
    with pytest.raises(ValueError, match="not both"):
        served.recommend()
    with pytest.raises(ValueError, match="the history is empty"):
        served.recommend(history=[])
