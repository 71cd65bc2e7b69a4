"""From answers to scores and ranks."""

import numpy as np
import pandas as pd
import pytest

from raypipe.errors import ConfigError
from raypipe.papers.llama4rec import (
    aggregation,
    learned_weight,
    llm_scores,
    stages,
)
from raypipe.papers.llama4rec.config import load
from tests.papers.llama4rec.test_model_selection import case


def score_table(user, items, values, ranking="listwise", chunk=0):
    return pd.DataFrame(
        {"user_id": user, "item_id": items, "score": values, "ranking": ranking, "chunk": chunk}
    )


def answered(*rows):
    """Answered prompts of seed 3 and backbone b.

    Each row is (template, task, user, item, chunk), answer, logprobs, options, payload.
    """
    frame = pd.DataFrame(
        [(*about, *answer) for about, *answer in rows],
        columns=[
            "template",
            "task",
            "user_id",
            "item_id",
            "chunk",
            "answer",
            "logprobs",
            "options",
            "payload",
        ],
    )
    return frame.assign(seed=3, backbone="b", split="test")


def test_answers_become_values_and_rejections_are_counted():
    options, items = [" x", " y"], ["i1", "i2"]
    levels, ratings = [" 1", " 5"], ["1", "5"]
    frame = answered(
        (("listwise_logprobs", "direct", "u/1", "", 2), "", [-2.0, -1.0], options, items),
        (("pointwise", "direct", "u/1", "i7", 0), "", [np.log(0.5)] * 2, levels, ratings),
        (("pointwise", "rating", "u/1", "i8", 0), "", [0.0, -50.0], levels, ratings),
        (("listwise_logprobs", "direct", "v", "", 0), "", [], options, items),
    )
    scores, rejected = llm_scores.llm_scores(frame)
    assert rejected == {"no_answer": 1}
    assert scores[["ranking", "user_id", "item_id", "score"]].values.tolist() == [
        ["listwise", "u/1", "i2", -1.0],
        ["listwise", "u/1", "i1", -2.0],
        ["pointwise", "u/1", "i7", pytest.approx(3.0)],
        ["pointwise", "u/1", "i8", pytest.approx(1.0)],
    ]
    assert scores["seed"].tolist() == [3] * 4 and scores["split"].tolist() == ["test"] * 4
    assert scores["chunk"].tolist() == [2, 2, 0, 0]


def test_a_generated_ranking_becomes_positions():
    options, items = [' "X"', ' "Y"', ' "Z"'], ["x", "y", "z"]
    frame = answered(
        (("listwise_constrained", "direct", "u", "", 0), ' "Y", "Y", "Z"', [], options, items),
        (("listwise_constrained", "direct", "v", "", 0), "", [], options, items),
    )
    scores, rejected = llm_scores.llm_scores(frame)
    assert rejected == {"no_answer": 1, "repeated (first place kept)": 1}
    assert set(scores["ranking"]) == {"listwise"}
    lists = pd.DataFrame(
        {"user_id": ["u", "v"], "items": [list("xyz")] * 2, "scores": [[9.0, 5.0, 1.0]] * 2}
    )
    config = load("toy", {"rerank.generate_ranking": True})
    llm, backbone, answered_U = llm_scores.utilities(lists, scores, config)
    assert llm.tolist() == [[-3, -1, -2], [-1, -2, -3]] and backbone.tolist() == [[-1, -2, -3]] * 2
    assert answered_U.tolist() == [True, False]
    with pytest.raises(ConfigError, match="generated ranking of a whole list"):
        stages.plan(load("toy", {"rerank.generate_ranking": True, "rerank.chunk": 10}))


def test_a_rejected_answer_keeps_the_conventional_order():
    names, scores = list("abcde"), [[0.9, 0.5, 0.4, 0.3, 0.1], [5.0, 4.0, 3.0, 2.0, 1.0]]
    lists = pd.DataFrame({"user_id": ["u", "v"], "items": [names, names], "scores": scores})
    for ranking in llm_scores.RANKINGS:
        answers = score_table("u", list("cabde"), [-1.0, -2.0, -2.0, -4.0, -5.0], ranking)
        by_position = load("toy", {"rerank.k_prime": 5, "aggregation.utility": "position"})
        llm, backbone, _ = llm_scores.utilities(lists, answers, by_position)
        assert llm.tolist() == [[-2, -3, -1, -4, -5], [-1, -2, -3, -4, -5]]
        assert backbone.tolist() == [[-1, -2, -3, -4, -5]] * 2
        llm, backbone, answered_U = llm_scores.utilities(
            lists, answers, load("toy", {"rerank.k_prime": 5})
        )
        assert llm.tolist() == [[-2.0, -2.0, -1.0, -4.0, -5.0], scores[1]]
        assert backbone.tolist() == scores and answered_U.tolist() == [True, False]


def test_candidates_without_a_rating_rank_last():
    """Three of five candidates are rated; the second user has two items left to recommend."""
    lists = pd.DataFrame(
        {
            "user_id": ["u", "v"],
            "items": [list("abcde"), ["c", "a"]],
            "scores": [[5.0, 4.0, 3.0, 2.0, 1.0], [9.0, 8.0]],
        }
    )
    answers = score_table(list("uuuvv"), list("cabac"), [4.0, 3.0, 2.0, 5.0, 1.0], "pointwise")
    config = load("toy", {"rerank.pointwise_k": 5})
    config = config.model_copy(
        update={"rerank": config.rerank.model_copy(update={"pointwise_k": 3})}
    )
    items, _ = llm_scores.candidates(lists, 50)
    assert items.tolist() == [list("abcde"), ["c", "a", "", "", ""]]
    llm, backbone, _ = llm_scores.utilities(lists, answers, config)
    none = -np.inf
    assert llm.tolist() == [[3.0, 2.0, 4.0, none, none], [1.0, 5.0, none, none, none]]
    assert backbone.tolist() == [[5.0, 4.0, 3.0, 2.0, 1.0], [9.0, 8.0, none, none, none]]
    for alpha, places in ((0.0, [1, 2, 3, 4, 5]), (0.9, [2, 3, 1, 4, 5]), (1.0, [2, 3, 1, 4, 5])):
        mixed = aggregation.mixed(llm, backbone, np.full(2, alpha))
        assert aggregation.positions(mixed)[0].tolist() == places, alpha
    by_position = load("toy", {"aggregation.utility": "position"}).aggregation
    by_place = config.model_copy(update={"aggregation": by_position})
    assert llm_scores.utilities(lists, answers, by_place).llm.tolist() == [
        [-2, -3, -1, -4, -5],
        [-2, -1, -3, -4, -5],
    ]
    pointwise_case = case("pointwise", "all", llm, target=(4, 2), backbone_output=backbone)
    assert learned_weight._informative(pointwise_case, np.arange(2)).tolist() == [False, True], (
        "the weight does not learn from a target without a rating"
    )
    assert np.isfinite(learned_weight.learn([pointwise_case], [np.arange(2)])).all()


def test_chunks_are_merged_by_rank_where_scores_are_not_comparable():
    names, scores = list("abcde"), [2.0, 1.0, 0.5, 0.2, -1.0]
    lists = pd.DataFrame({"user_id": ["u"], "items": [names], "scores": [scores]})
    answers = score_table("u", names, [-1.0, -9.0, -2.0, -3.0, -8.0], chunk=[0, 1, 0, 0, 1])
    by_title = load("toy", {"rerank.k_prime": 5, "rerank.chunk": 3})
    llm = llm_scores.utilities(lists, answers, by_title).llm
    assert llm[0].tolist() == answers["score"].tolist(), (
        "log-probabilities of titles are over all texts"
    )
    by_label = load("toy", {"rerank.k_prime": 5, "rerank.chunk": 3, "prompts.answers": "label"})
    llm, backbone, _ = llm_scores.utilities(lists, answers, by_label)
    p, share = np.exp(llm[0]), np.exp(backbone[0]) / np.exp(backbone[0]).sum()
    assert p.sum() == pytest.approx(1.0) and p[[1, 4]].sum() == pytest.approx(share[[1, 4]].sum())
    assert p[0] / p[2] == pytest.approx(np.e) and p[4] / p[1] == pytest.approx(np.e)
    whole = llm_scores.merged(np.array(answers["score"]), np.zeros(5), np.array(scores))
    assert np.diff(whole - answers["score"]).tolist() == pytest.approx([0.0] * 4), (
        "one chunk keeps its differences"
    )
