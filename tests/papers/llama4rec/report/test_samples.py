"""The sample prompts and answers of the page, from hand-made artifacts."""

import numpy as np
import pandas as pd
import pytest

from raypipe.papers.llama4rec.config import load
from raypipe.papers.llama4rec.report.samples import samples


@pytest.fixture
def artifacts(toy, tmp_path):
    """The stages of a run of SASRec and DeepFM with three test users: the LLM helps `a/b`, hurts
    `hurt` and does not change `still`.
    """
    ids, output_of = list(toy.items[:12]), lambda stage: tmp_path / stage.replace("/", ".")
    output_of("data").mkdir()
    toy.dataset.save(output_of("data"))
    pairs = [("all", "pair", "augment", "augment", "u", number) for number in range(3)]
    lists = [
        ("sasrec", "listwise_logprobs", "sequential", "test", user, chunk)
        for user in ("a/b", "hurt", "still")
        for chunk in (0, 1)
    ]
    ratings = [("deepfm", "pointwise", "rating", "test", user, 0) for user in ("a/b", "hurt")]
    waves = {"augment": pairs, "llama4rec": lists + ratings, "llama4rec-pointwise": []}
    identity = ["backbone", "template", "task", "split", "user_id", "chunk"]
    for wave, about in waves.items():
        prompts = pd.DataFrame(about, columns=identity).assign(seed=0, mode="score", pattern="")
        prompt_ids = ["/".join(map(str, row)) for row in about]
        prompts["prompt_id"] = prompt_ids
        prompts["prompt"] = [f"about {name}" for name in prompt_ids]
        prompts["options"] = [[" x", " y"]] * len(prompt_ids)
        prompts["payload"] = [["1", "2"]] * len(prompt_ids)
        if len(prompts):
            (output_of(f"prompts/{wave}") / "prompts").mkdir(parents=True)
            prompts.to_parquet(output_of(f"prompts/{wave}") / "prompts" / "part.parquet")
        output_of(f"completions/{wave}").mkdir()
        completions = pd.DataFrame(
            {
                "prompt_id": prompt_ids,
                "answer": "",
                "logprobs": [np.array([-2.0, -1.0])] * len(prompt_ids),
            }
        )
        completions.to_parquet(output_of(f"completions/{wave}") / "completions.parquet")
    (output_of("evaluate") / "seed0").mkdir(parents=True)
    parts = []
    for user, rec, final in (("a/b", 11, 1), ("hurt", 1, 12), ("still", 3, 3)):
        target = ids[rec - 1]
        others = [i for i in ids if i != target]
        order = [*others[: final - 1], target, *others[final - 1 :]]
        place = {item: n + 1 for n, item in enumerate(order)}
        parts.append(
            pd.DataFrame(
                {
                    "user_id": user,
                    "item_id": ids,
                    "rank": [place[i] for i in ids],
                    "rank_rec": np.arange(1, 13),
                    "rank_llm": [place[i] for i in ids],
                    "alpha": 0.5,
                    "target": target,
                }
            )
        )
    pd.concat(parts).to_parquet(
        output_of("evaluate") / "seed0" / "sequential.sasrec.llama4rec.parquet"
    )
    rated = [("a/b", ids[0], 4.5, 5.0, 3.0, 5.0), ("hurt", ids[1], 3.0, 4.0, 3.9, 2.0)]
    columns = ["user_id", "item_id", "prediction", "truth", "rec", "llm"]
    pd.DataFrame(rated, columns=columns).assign(alpha=0.25).to_parquet(
        output_of("evaluate") / "seed0" / "rating.deepfm.llama4rec.parquet"
    )
    return output_of


def test_samples_show_the_users_whose_ranks_changed_most(artifacts, toy):
    chosen = [
        {"task": "sequential", "backbone": "sasrec", "ranking": "listwise"},
        {"task": "rating", "backbone": "deepfm", "ranking": "pointwise"},
    ]
    shown = samples(load("toy"), artifacts, chosen)
    assert [s["id"] for s in shown] == [
        "all/pair/augment/augment/u/0",
        "all/pair/augment/augment/u/1",
        "sasrec/listwise_logprobs/sequential/test/a/b/0",
        "sasrec/listwise_logprobs/sequential/test/hurt/0",
        "deepfm/pointwise/rating/test/a/b/0",
        "deepfm/pointwise/rating/test/hurt/0",
    ]
    assert [o["text"] for o in shown[0]["options"]] == ["y", "x"], (
        "the most probable answer comes first"
    )
    assert shown[0]["about"] == "data augmentation: which of two items the user prefers"
    up, down = shown[2:4]
    assert up["about"] == (
        "sequential, SASRec: user a/b, whose target the LLM moved up most (the first of 2 prompts)"
    )
    titles = toy.dataset.items.set_index("item_id")["title"]
    assert (
        up["lines"][0] == (True, titles[toy.items[10]], 11, 1, 1, "0.50") and len(up["lines"]) == 10
    )
    assert [line[4] for line in down["lines"]] == [*range(1, 11), 12] and down["lines"][-1][0], (
        "the target is shown at any rank"
    )
    helped = shown[4]
    assert helped["lines"] == [(True, titles[toy.items[0]], "3.00", "5.00", "0.25", "4.50", "5")]
    assert helped["about"].endswith("reduced most") and shown[5]["about"].endswith("increased most")


def test_samples_show_no_user_where_the_llm_changed_nothing(artifacts):
    file = artifacts("evaluate") / "seed0" / "sequential.sasrec.llama4rec.parquet"
    frame = pd.read_parquet(file)
    frame.assign(rank=frame["rank_rec"]).to_parquet(file)
    shown = samples(
        load("toy"),
        artifacts,
        [{"task": "sequential", "backbone": "sasrec", "ranking": "listwise"}],
    )
    assert {s["id"].split("/")[1] for s in shown} == {"pair"}
