"""A whole run on small toy data in this process, with a tiny LLM and real endpoints."""

import json

import numpy as np
import pandas as pd
import pytest

import raypipe
from raypipe.errors import UnknownError
from raypipe.papers.contract import NewItem
from raypipe.papers.llama4rec.bundle import write_bundle
from raypipe.papers.llama4rec.recommender import Recommender
from raypipe.papers.llama4rec.stages import plan
from raypipe.pipeline.runner import Runner
from raypipe.pipeline.store import Store
from tests.support.endpoint import serving_endpoint

#: candidates that are ranked, and by the other LLM
K_PRIME, LETTERS = 8, 5
BACKBONES = {"direct": "light_gcn", "sequential": "sasrec", "rating": "deepfm"}
SETTINGS = {
    "data": {"name": "toy", "options": {"users": 30, "items": 60, "mean_length": 10}},
    "backbone_options": {
        "light_gcn": {"epochs": 2},
        "sasrec": {"epochs": 2, "layers": 1},
        "deepfm": {"epochs": 1},
    },
    "llm": {
        "embedded": {
            "epochs": 1,
            "hidden_size": 32,
            "intermediate_size": 64,
            "heads": 1,
            "layers": 1,
            "pieces": 300,
        },
        "tune": {"instructions": 30, "epochs": 1},
        "engine": {"name": "transformers"},
    },
    "augment": {"rounds": 2, "warm_start": True, "pick_from": 4},
    "rerank": {"k_prime": K_PRIME, "pointwise_users": 20, "pointwise_k": 5},
    "aggregation": {"alpha_1": (0.3, 0.7), "alpha_2": (0.1, 0.5)},
    "variants": ("ift", "wo_aa"),
    "external_llm_prompts": 3,
    "external_llm_candidates": LETTERS,
    "judged_items": 4,
}


class SmallRun:
    """A finished run: its folder, its configuration, its report, and the artifact of each stage."""

    def __init__(self, folder, config):
        self.folder, self.config = folder, config
        self.runner = Runner(plan(config), Store(str(folder)))
        self.report = json.loads((folder / "report.json").read_text())

    def artifact(self, stage):
        return self.runner.store.local(stage, self.runner.keys[stage])

    def predictions(self, task, variant):
        name = f"{task}.{BACKBONES[task]}.{variant}.parquet"
        return pd.read_parquet(self.folder / "predictions" / name)


@pytest.fixture(scope="module")
def run(one_process, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "run"
    with serving_endpoint() as endpoint:
        endpoint.answers |= {"other": "E, D, C, B, A", "judge": "Yes."}
        others = {}
        for name, model in (("external_llm", "other"), ("judge", "judge")):
            others[name] = {"url": endpoint.url, "model": model, "requests_per_minute": 60_000}
        others["external_llm"] |= {"dollars_in": 1.0}
        config = raypipe.load_config("llama4rec", **SETTINGS, **others)
        raypipe.run(config, out=folder, progress=lambda line: None)
    return SmallRun(folder, config)


@pytest.fixture(scope="module")
def served(run):
    return Recommender(run.folder / "bundle")


def test_a_finished_run_is_not_done_again(run):
    assert all(planned.cached for planned in run.runner.plan())
    assert all(done.cached for done in run.runner.run())


@pytest.mark.parametrize("task", ["direct", "sequential"])
def test_the_report_has_the_metrics_of_the_predictions(run, task):
    for variant in run.config.variants:
        frame = run.predictions(task, variant)
        hits = frame[frame["item_id"] == frame["target"]]
        share = (hits["rank"] <= 5).sum() / frame["user_id"].nunique()
        (row,) = (
            row
            for row in run.report["results"]
            if (row["task"], row["variant"], row["metric"]) == (task, variant, "H@5")
        )
        assert row["mean"] == pytest.approx(share) and row["n_users"] == frame["user_id"].nunique()
        assert frame.groupby("user_id").size().max() == K_PRIME


def test_every_augmented_backbone_got_the_answers_of_both_rounds(run):
    lines = {}
    for name in ("seed0/augmentation@1", "seed0/augmentation"):
        lines[name] = pd.read_parquet(run.artifact(name) / "insertions.parquet")
    first, both = lines.values()
    assert len(both) > len(first) > 0
    assert set(both["backbone"]) == {"all", "sasrec"}, "the second round is each backbone's own"


def test_the_page_shows_plots_and_samples_and_the_costs_add_up(run):
    page = (run.folder / "report.html").read_text()
    assert page.count("<svg") >= 3 + 1 + 2, "a heat map each task, the weights, the curves"
    assert "whose target the LLM" in page
    llm = run.report["llm"]
    assert sum(part["share"] for part in llm["shares"]) == pytest.approx(1.0)
    waves = {}
    for stage in run.report["stages"]:
        if stage["name"].startswith("completions/"):
            waves[stage["name"]] = stage["facts"]
    own = [facts for name, facts in waves.items() if not name.endswith(("external_llm", "judge"))]
    assert llm["prompts"] == sum(facts["rows"] for facts in own)
    assert llm["tokens_in"] == sum(facts["tokens_in"] for facts in own) > 10_000
    assert llm["instructions"] > 60 and llm["engine"] == "transformers"


def test_the_other_llm_and_llama4rec_ranked_the_same_lists(run):
    external = run.report["external_llm"]
    prompts = pd.read_parquet(run.artifact("prompts/external_llm") / "prompts")
    assert external["model"] == "other" and external["rows"] == len(prompts)
    assert external["dollars"] == pytest.approx(external["tokens_in"] / 1e6)
    assert set(prompts["options"].map(len)) == {LETTERS}
    outcomes = dict.fromkeys(prompts["backbone"], 0)
    for line in external["lines"]:
        assert line["rejected"] == 0, "the other LLM named all letters"
        outcomes[line["backbone"]] += line["wins"] + line["ties"] + line["losses"]
    # two rankings each: that of Llama4Rec, and that of its LLM alone
    assert outcomes == (2 * prompts["backbone"].value_counts()).to_dict()


def test_the_judge_takes_all_values_for_correct(run):
    attributes = run.report["attributes"]
    assert attributes["judge"] == "judge" and attributes["lines"]
    for line in attributes["lines"]:
        assert line["judged correct"] == line["drawn"] - line["not known"]
        assert line["judged not correct"] == line["rejected"] == 0


@pytest.mark.parametrize("variant", ["base", "wo_aa", "llama4rec"])
def test_the_served_list_is_the_measured_one(run, variant, tmp_path):
    write_bundle(tmp_path, run.config, variant, run.artifact)
    served = Recommender(tmp_path)
    for task in ("direct", "sequential"):
        frame = run.predictions(task, variant)
        for user in frame["user_id"].unique()[:4]:
            rows = frame[frame["user_id"] == user].sort_values("rank")
            answer = served.recommend(user_id=user, k=len(rows), task=task, as_of="test")
            assert [item.item_id for item in answer.items] == rows["item_id"].tolist()
            if "alpha" in rows:
                assert answer.alpha == pytest.approx(rows["alpha"].iloc[0], abs=1e-9)
    for row in run.predictions("rating", variant).head(4).itertuples():
        rating = served.rate(row.user_id, row.item_id, as_of="test")
        assert rating.prediction == pytest.approx(row.prediction, abs=2e-3)


def test_a_served_list_holds_nothing_that_the_user_has(served):
    user = str(served.matrices.users[3])
    log = served.matrices.split.topk
    own = set(log.loc[log["user_id"] == user, "item_id"])
    for task in ("direct", "sequential"):
        answer = served.recommend(user_id=user, k=12, task=task)
        assert [item.rank for item in answer.items] == list(range(1, 13))
        assert not own & {item.item_id for item in answer.items}
        ranked, below = answer.items[:K_PRIME], answer.items[K_PRIME:]
        assert all(item.rank_llm for item in ranked) and not any(i.rank_llm for i in below)
    served.check()


def test_a_history_is_answered_by_the_sequential_model(served):
    history = [str(item) for item in served.matrices.items[:4]]
    answer = served.recommend(history=history, k=5)
    assert answer.task == "sequential" and answer.backbone == "sasrec"
    assert not set(history) & {item.item_id for item in answer.items}
    assert np.isfinite(answer.alpha)


def test_a_request_that_cannot_be_answered_is_refused(served):
    user, item = str(served.matrices.users[0]), str(served.matrices.items[0])
    with pytest.raises(UnknownError, match="a direct model knows users by id only"):
        served.recommend(history=[item], task="direct")
    with pytest.raises(UnknownError, match="cannot recommend by task 'rating'"):
        served.recommend(user_id=user, task="rating")
    with pytest.raises(UnknownError, match="knows items by id only"):
        served.recommend(user_id=user, new_items=[NewItem("x", "New")])
    with pytest.raises(UnknownError, match="there is no user 'nobody'"):
        served.recommend(user_id="nobody")
    with pytest.raises(UnknownError, match="there is no item 'nothing'"):
        served.rate(user, "nothing")
    with pytest.raises(ValueError, match="k must lie between"):
        served.recommend(user_id=user, k=0)
    with pytest.raises(ValueError, match="not both"):
        served.recommend(user_id=user, history=[item])
    with pytest.raises(ValueError, match="the history is empty"):
        served.recommend(history=[])


def test_the_bundle_names_no_folder_of_this_machine(run):
    facts = json.loads((run.folder / "bundle" / "bundle.json").read_text())
    assert facts["paper"] == "llama4rec" and "dir" not in facts["config"]["data"]
    assert {choice["task"] for choice in facts["chosen"]} == set(BACKBONES)
