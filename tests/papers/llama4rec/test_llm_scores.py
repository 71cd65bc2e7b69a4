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


def answered(*rows):
    made = pd.DataFrame(rows, columns=["prompt_id", "answer", "logprobs", "options", "payload"])
    return made.assign(template=[name.split("/")[2] for name in made["prompt_id"]])


def test_answers_become_values_and_rejections_are_counted():
    frame = answered(
        ("3/b/listwise/direct/test/2/u/1", "", [-2.0, -1.0], [" x", " y"], ["i1", "i2"]),
        (
            "3/b/pointwise/direct/test/u/1/7",
            "",
            [np.log(0.5), np.log(0.5)],
            [" 1", " 5"],
            ["1", "5"],
        ),
        ("3/b/pointwise/rating/test/u/1", "", [0.0, -50.0], [" 1", " 5"], ["1", "5"]),
        ("3/b/listwise/direct/test/0/v", "", [], [" x", " y"], ["i1", "i2"]),
    )
    got, rejected = llm_scores.values(frame)
    assert rejected == {"no_answer": 1}
    assert got[["user_id", "item", "value"]].values.tolist() == [
        ["u/1", "i2", -1.0],
        ["u/1", "i1", -2.0],
        ["u/1", "7", pytest.approx(3.0)],
        ["u/1", "", pytest.approx(1.0)],
    ], "user ids may hold slashes"
    assert got["seed"].tolist() == [3] * 4 and got["split"].tolist() == ["test"] * 4
    assert got["chunk"].tolist() == [2, 2, 0, 0]


def test_an_order_that_was_written_becomes_positions():
    options = [' "X"', ' "Y"', ' "Z"']
    asked = answered(
        ("0/b/listwise/direct/test/0/u", ' "Y", "Y", "Z"', [], options, ["x", "y", "z"]),
        ("0/b/listwise/direct/test/0/v", "", [], options, ["x", "y", "z"]),
    ).assign(template="written")
    said, rejected = llm_scores.values(asked)
    assert rejected == {"no_answer": 1, "repeated (mended)": 1} and set(said["template"]) == {
        "listwise"
    }
    lists = pd.DataFrame(
        {"user_id": ["u", "v"], "items": [list("xyzw")[:3]] * 2, "scores": [[9.0, 5.0, 1.0]] * 2}
    )
    config = load("toy", {"rerank.written": True})
    llm, rec = llm_scores.utilities(lists, said, {n: i for i, n in enumerate("xyz")}, config)
    assert llm.tolist() == [[-3, -1, -2], [-1, -2, -3]] and rec.tolist() == [[-1, -2, -3]] * 2
    with pytest.raises(ConfigError, match="written at once"):
        stages.plan(load("toy", {"rerank.written": True, "rerank.chunk": 10}))


def test_a_rejected_answer_keeps_the_conventional_order():
    names, scores = list("abcde"), [[0.9, 0.5, 0.4, 0.3, 0.1], [5.0, 4.0, 3.0, 2.0, 1.0]]
    lists = pd.DataFrame({"user_id": ["u", "v"], "items": [names, names], "scores": scores})
    said = pd.DataFrame(
        {"user_id": "u", "item": list("cabde"), "value": [-1.0, -2.0, -2.0, -4.0, -5.0], "chunk": 0}
    )
    rated = said.assign(item=["2", "0", "1", "3", "4"], template="pointwise")
    for named in (said.assign(template="listwise"), rated):
        llm, rec = llm_scores.utilities(
            lists,
            named,
            {n: i for i, n in enumerate(names)},
            load("toy", {"rerank.k_prime": 5, "aggregation.utility": "position"}),
        )
        assert (
            llm.tolist() == [[-2, -3, -1, -4, -5], [-1, -2, -3, -4, -5]]
            and rec.tolist() == [[-1, -2, -3, -4, -5]] * 2
        )
        llm, rec = llm_scores.utilities(
            lists, named, {n: i for i, n in enumerate(names)}, load("toy", {"rerank.k_prime": 5})
        )
        assert (
            llm.tolist() == [[-2.0, -2.0, -1.0, -4.0, -5.0], scores[1]] and rec.tolist() == scores
        )


def test_what_is_not_rated_or_not_there_stays_behind():
    """Three of five candidates are rated; the second user has two items left to recommend."""
    lists = pd.DataFrame(
        {
            "user_id": ["u", "v"],
            "items": [list("abcde"), ["c", "a"]],
            "scores": [[5.0, 4.0, 3.0, 2.0, 1.0], [9.0, 8.0]],
        }
    )
    said = pd.DataFrame(
        {
            "user_id": list("uuuvv"),
            "item": ["2", "0", "1", "0", "2"],
            "value": [4.0, 3.0, 2.0, 5.0, 1.0],
        }
    )
    said = said.assign(chunk=0, template="pointwise")
    numbers, rated = {n: i for i, n in enumerate("abcde")}, load("toy", {"rerank.pointwise_k": 5})
    rated = rated.model_copy(update={"rerank": rated.rerank.model_copy(update={"pointwise_k": 3})})
    ids, _ = llm_scores.candidates(lists, 50)
    assert ids.tolist() == [list("abcde"), ["c", "a", "", "", ""]]
    llm, rec = llm_scores.utilities(lists, said, numbers, rated)
    none = -np.inf
    assert llm.tolist() == [[3.0, 2.0, 4.0, none, none], [1.0, 5.0, none, none, none]]
    assert rec.tolist() == [[5.0, 4.0, 3.0, 2.0, 1.0], [9.0, 8.0, none, none, none]]
    for alpha, places in ((0.0, [1, 2, 3, 4, 5]), (0.9, [2, 3, 1, 4, 5]), (1.0, [2, 3, 1, 4, 5])):
        assert (
            aggregation.positions(aggregation.mixed(llm, rec, np.full(2, alpha)))[0].tolist()
            == places
        ), alpha
    by_place = rated.model_copy(
        update={"aggregation": load("toy", {"aggregation.utility": "position"}).aggregation}
    )
    assert llm_scores.utilities(lists, said, numbers, by_place)[0].tolist() == [
        [-2, -3, -1, -4, -5],
        [-2, -1, -3, -4, -5],
    ]
    known = {"ell": np.zeros(2), "task": "direct", "at": np.array([4, 2]), "llm": llm, "rec": rec}
    assert learned_weight._told(known, np.arange(2)).tolist() == [False, True], (
        "of a target that is not rated nothing is learnt"
    )
    assert np.isfinite(learned_weight.learn([known], [np.arange(2)])).all()


def test_chunks_are_merged_where_their_values_cannot_be_compared():
    names, scores = list("abcde"), [2.0, 1.0, 0.5, 0.2, -1.0]
    lists = pd.DataFrame({"user_id": ["u"], "items": [names], "scores": [scores]})
    said = pd.DataFrame(
        {
            "user_id": "u",
            "item": names,
            "value": [-1.0, -9.0, -2.0, -3.0, -8.0],
            "chunk": [0, 1, 0, 0, 1],
        }
    )
    said["template"] = "listwise"
    numbers = {n: i for i, n in enumerate(names)}
    by_title = load("toy", {"rerank.k_prime": 5, "rerank.chunk": 3})
    llm, _ = llm_scores.utilities(lists, said, numbers, by_title)
    assert llm[0].tolist() == said["value"].tolist(), (
        "log-probabilities of titles are over all texts"
    )
    llm, rec = llm_scores.utilities(
        lists,
        said,
        numbers,
        load("toy", {"rerank.k_prime": 5, "rerank.chunk": 3, "prompts.answers": "label"}),
    )
    p, share = np.exp(llm[0]), np.exp(rec[0]) / np.exp(rec[0]).sum()
    assert p.sum() == pytest.approx(1.0) and p[[1, 4]].sum() == pytest.approx(share[[1, 4]].sum())
    assert p[0] / p[2] == pytest.approx(np.e) and p[4] / p[1] == pytest.approx(np.e)
    whole = llm_scores.merged(np.array(said["value"]), np.zeros(5), np.array(scores))
    assert np.diff(whole - said["value"]).tolist() == pytest.approx([0.0] * 4), (
        "one chunk keeps its differences"
    )
