"""A served list is the measured one: for every test user, task and variant of a small run."""

import numpy as np
import pandas as pd
import pytest

from raypipe.papers.llama4rec.bundle import write_bundle
from raypipe.papers.llama4rec.config import VARIANTS, load
from raypipe.papers.llama4rec.recommender import Recommender
from raypipe.papers.llama4rec.stages import plan
from raypipe.pipeline.runner import Runner
from raypipe.pipeline.store import Store
from raypipe.trees import parse_set
from tests.papers.llama4rec.conftest import SETTINGS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parts(run):
    """The configuration of the run, and the artifact of each stage."""
    config = load("toy", dict(parse_set(setting) for setting in SETTINGS))
    store = Store(str(run.out))
    keys = Runner(plan(config), store).keys
    return config, lambda stage: store.local(stage, keys[stage])


def recommender(parts, variant, folder):
    config, artifact = parts
    write_bundle(folder, config, variant, artifact)
    return Recommender(folder)


def test_the_report_has_every_variant(run):
    assert list(dict.fromkeys(row["variant"] for row in run.report["results"])) == list(VARIANTS)


def test_without_adaptive_aggregation_all_users_have_one_weight(run):
    for task, backbone in (("direct", "light_gcn"), ("sequential", "sasrec")):
        weights = {}
        for variant in ("wo_aa", "wo_da"):
            file = run.out / "predictions" / f"{task}.{backbone}.{variant}.parquet"
            weights[variant] = pd.read_parquet(file)["alpha"].nunique()
        assert weights["wo_aa"] == 1 < weights["wo_da"], (
            "otherwise the weight depends on the length of the history"
        )


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_served_list_is_the_measured_one(run, parts, variant, tmp_path):
    served = recommender(parts, variant, tmp_path)
    for task, backbone in (("direct", "light_gcn"), ("sequential", "sasrec")):
        frame = pd.read_parquet(run.out / "predictions" / f"{task}.{backbone}.{variant}.parquet")
        for user, rows in frame.groupby("user_id"):
            answer = served.recommend(user_id=user, k=len(rows), task=task, as_of="test")
            items = [item.item_id for item in answer.items]
            assert items == rows.sort_values("rank")["item_id"].tolist(), (task, user)
            if "alpha" in rows:
                assert answer.alpha == pytest.approx(rows["alpha"].iloc[0], abs=1e-9)
    ratings = pd.read_parquet(run.out / "predictions" / f"rating.deepfm.{variant}.parquet")
    for row in ratings.itertuples():
        rating = served.rate(row.user_id, row.item_id, as_of="test")
        assert rating.prediction == pytest.approx(row.prediction, abs=2e-3), row.user_id


def test_the_published_bundle_is_that_of_llama4rec(run, parts, tmp_path):
    published = Recommender(run.out / "bundle")
    rebuilt = recommender(parts, "llama4rec", tmp_path)
    user = str(published.matrices.users[3])
    assert published.recommend(user_id=user, k=5) == rebuilt.recommend(user_id=user, k=5)
    now = published.recommend(user_id=user, k=5, task="sequential")
    seen = set(published.matrices.split.topk.query("user_id == @user")["item_id"])
    assert not seen & {item.item_id for item in now.items}, "now, the whole history is known"
    assert np.isfinite(now.alpha)
