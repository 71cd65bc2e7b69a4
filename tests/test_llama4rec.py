"""From answers to ranks, choosing on validation, and the published values."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from raypipe.backbones import registry
from raypipe.backbones.interaction_matrices import Augmentation
from raypipe.data.dataset import read, true_attributes
from raypipe.errors import ConfigError
from raypipe.papers.llama4rec import (
    aggregation,
    attribute_accuracy,
    augmentation,
    evaluation,
    learned_weight,
    llm_scores,
    model_selection,
    prompt_requests,
    stages,
    variants,
)
from raypipe.papers.llama4rec.config import load
from raypipe.papers.llama4rec.report import result_tables, text
from raypipe.pipeline.stage import Context
from raypipe.pipeline.store import Store
from raypipe.schema import COMPLETIONS, PROMPTS
from raypipe.steps import answer_cache, completions


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


def test_asks_in_chunks_hold_every_candidate_once():
    about = {
        "template": "listwise",
        "user_id": "a/b",
        "task": "direct",
        "split": "test",
        "history": [1],
        "answer": -1,
    }
    ask = prompt_requests.Ask(ask_id="listwise/direct/test/0/a/b", candidates=np.arange(7), **about)
    made = prompt_requests.in_chunks(pd.DataFrame([ask]), 3)
    assert made["ask_id"].tolist() == [f"listwise/direct/test/{n}/a/b" for n in range(3)]
    assert (
        np.concatenate(made["candidates"].to_list()).tolist() == list(range(7))
        and made["candidates"].map(len).max() == 3
    )
    assert len(prompt_requests.in_chunks(pd.DataFrame([ask]), 7)) == 1
    with pytest.raises(ConfigError, match="labelled by 26"):
        stages.plan(load("toy", {"rerank.k_prime": 40, "prompts.answers": "label"}))
    assert stages.plan(
        load("toy", {"rerank.k_prime": 40, "rerank.chunk": 10, "prompts.answers": "label"})
    )


def case(ranking, scope, llm, rec=(1, 2), task="direct"):
    return {
        "name": f"{task}.b.{ranking}.{scope}",
        "task": task,
        "backbone": "b",
        "ranking": ranking,
        "scope": scope,
        "at": np.array(rec),
        "llm": -np.array(llm),
        "rec": -np.array([[1, 2]] * len(rec)),
        "ell": np.linspace(0.0, 1.0, len(rec)),
        "range": (0.0, 1.0),
    }


def test_quality_is_ndcg_of_the_blend():
    one = case("listwise", "all", [[2, 1], [2, 1]])
    # targets at conventional 1 and 2; the LLM turns both lists round: ranks 2 and 1
    assert model_selection.quality(one, None) == pytest.approx((1 / np.log2(3) + 1) / 2)
    assert model_selection.quality(one, np.array([0.0, 1.0])) == pytest.approx(1.0)
    missed = case("listwise", "all", [[1, 2], [1, 2]], rec=(0, 1))
    assert model_selection.quality(missed, None) == pytest.approx(0.5)


def test_quality_of_ratings_is_minus_rmse():
    rating = {
        "task": "rating",
        "llm": np.array([4.0]),
        "rec": np.array([2.0]),
        "truth": np.array([3.0]),
    }
    assert model_selection.quality(rating, np.array([0.5])) == 0.0
    assert model_selection.quality(rating, None) == -1.0


def test_the_better_ranking_wins_on_the_compared_users():
    turned, kept = [[2, 1], [1, 2]], [[1, 2], [2, 1]]
    cases = [
        case("listwise", "all", turned),
        case("listwise", "compared", turned),
        case("pointwise", "compared", kept),
    ]
    (chosen,) = model_selection._decide(cases, {})
    assert chosen["ranking"] == "pointwise" and chosen["compared"]["pointwise"] == 1.0
    (chosen,) = model_selection._decide(
        [case("listwise", "all", kept), case("listwise", "compared", kept), cases[2]], {}
    )
    assert chosen["ranking"] == "listwise", "equal values go to listwise"
    one, two = [1, 2], [2, 1]
    cases = [
        case(*about, llm, rec=(1, 1, 1, 1))
        for about, llm in (
            (("listwise", "all"), [two, two, one, one]),
            (("listwise", "compared"), [two, two, one, one]),
            (("pointwise", "compared"), [one, one, two, one]),
        )
    ]
    (chosen,) = model_selection._decide(cases, {})
    assert (
        chosen["compared"]["pointwise"] > chosen["compared"]["listwise"]
        and chosen["ranking"] == "listwise"
    ), "not by chance"


def test_a_learnt_mixer_finds_out_for_whom_the_llm_is_right():
    rng = np.random.default_rng(0)
    n, k = 400, 6
    ell = np.linspace(0.0, 4.0, n)
    at = rng.integers(1, k + 1, n)
    right = np.eye(k)[at - 1] * 3 + rng.normal(size=(n, k))
    noise = rng.normal(size=(n, k))
    tail = (ell < 2)[:, None]
    one = {
        "task": "direct",
        "ell": ell,
        "at": at,
        "llm": np.where(tail, right, noise),
        "rec": np.where(tail, noise, right),
    }
    b = learned_weight.learn([one], [np.arange(n)])
    alpha = aggregation.learned_weight(ell, *b)
    assert b[1] < 0 and alpha[0] > 0.8 and alpha[-1] < 0.2
    held_out = learned_weight.cross_fitted([one], model_selection.quality)
    assert held_out > 1.05 * max(
        model_selection.quality(one, np.full(n, a)) for a in (0.0, 0.3, 0.5, 0.7, 1.0)
    )
    turned = one | {"llm": one["rec"], "rec": one["llm"]}
    assert learned_weight.learn([turned], [np.arange(n)])[1] > 0
    rated = {
        "task": "rating",
        "ell": ell,
        "llm": np.full(n, 4.0),
        "rec": np.full(n, 2.0),
        "truth": np.where(ell < 2, 4.0, 2.0),
    }
    assert (
        model_selection.quality(
            rated, aggregation.learned_weight(ell, *learned_weight.learn([rated], [np.arange(n)]))
        )
        > -0.6
    )
    missed = one | {"at": np.zeros(n, dtype=int)}
    assert learned_weight.learn([missed], [np.arange(n)]) == pytest.approx((0.0, 0.0), abs=1e-2), (
        "nothing to learn from"
    )


def test_equal_weights_go_to_the_smaller():
    one = case("listwise", "all", [[1, 2], [1, 2]])
    grid = [
        {"alpha_1": a, "alpha_2": b, "value": v}
        for a, b, v in [(0.1, 0.1, 0.4), (0.5, 0.3, 0.5), (0.5, 0.1, 0.5), (0.9, 0.1, 0.5)]
    ]
    (chosen,) = model_selection._decide([one], {one["name"]: grid})
    assert (chosen["alpha_1"], chosen["alpha_2"], chosen["validation"]) == (0.5, 0.1, 0.5)


def test_published_values():
    assert result_tables.published("ML-100K", "light_gcn", "base", "H@3") == 0.0492
    assert result_tables.published("ML-100K", "sasrec", "llama4rec", "N@5") == 0.0240
    assert result_tables.published("ML-100K", "deepfm", "ift", "RMSE") == 1.2792
    assert result_tables.published("ML-100K", "mf", "base", "H@3") == 0.0455
    assert result_tables.published("ML-100K", "mix_gcf", "base", "N@5") == 0.0496
    assert result_tables.published("", "light_gcn", "base", "H@3") is None
    with open(Path(result_tables.__file__).parent / "published.csv", newline="") as stream:
        printed = {
            r["backbone"] for r in csv.DictReader(stream) if r["table"] in ("II", "IV", "V")
        } - {"", "LLaMA"}
    ours = {registry.title(name) for task in registry.FOLDERS for name in registry.names(task)}
    assert len(printed) == 13 and printed <= ours, (
        "every backbone of the paper is found under the paper's name"
    )


def test_results_average_over_seeds():
    measured = [
        {
            "task": "direct",
            "backbone": "light_gcn",
            "variant": "base",
            "metric": "H@3",
            "values": [0.1, 0.3],
            "n_users": 2,
        }
    ]
    (got,) = result_tables.results("d", "ML-100K", "all", measured)
    assert (got["mean"], got["values"]) == (pytest.approx(0.2), [0.1, 0.3])
    assert got["std"] == pytest.approx(0.2 / 2**0.5) and got["published"] == 0.0492


def predictions(ranks):
    """Users a, b, ... with three items each; the target of user n stands at rank ranks[n]."""
    rows = [
        (u, str(r), r, str(rank))
        for u, rank in zip("abcdef", ranks, strict=False)
        for r in (1, 2, 3)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rank", "target"])


def test_variants_are_measured_per_seed_slice_and_against_the_better_baseline():
    frames = {
        "base": [predictions([1, 2, 2, 3]), predictions([1, 2, 2, 3])],
        "ift": [predictions([3, 3, 3, 3]), predictions([3, 3, 3, 3])],
        "llama4rec": [predictions([1, 1, 2, 2]), predictions([1, 2, 1, 3])],
    }
    groups = {"history": np.array([0, 0, 2, 2])}
    rows = evaluation.measure("direct", "mf", frames, groups)
    row = next(r for r in rows if (r["variant"], r["metric"]) == ("llama4rec", "N@3"))
    two, three = 1 / np.log2(3), 1 / 2
    assert row["values"] == pytest.approx([(2 + 2 * two) / 4, (2 + two + three) / 4])
    assert row["slices"]["history"] == {
        "tail": pytest.approx((1 + 1 + 1 + two) / 4),
        "head": pytest.approx((two + two + 1 + three) / 4),
    }
    gain = np.array(
        [0, (1 - two) / 2, (1 - two) / 2, (two - three) / 2]
    )  # over Base, each user's mean of both seeds
    assert row["against"] == "base" and row["effect"] == pytest.approx(
        gain.mean() / gain.std(ddof=1)
    )
    assert row["oracle"] == 1.0, "every user's target is among the three"
    ift = next(r for r in rows if (r["variant"], r["metric"]) == ("ift", "N@3"))
    assert "p" not in ift and ift["tails"]["history"]["level"] == {"difference": 0.0, "p": 1.0}, (
        "all stand third"
    )
    told = row["tails"]["history"]
    assert told["level"]["difference"] == pytest.approx((3 + two - (1 + 2 * two + three)) / 4)
    assert (
        told["gain"]["difference"] == pytest.approx((gain[0] + gain[1] - gain[2] - gain[3]) / 2)
        and 0 < told["gain"]["p"] < 1
    )


def test_rating_variants_gain_where_errors_fall():
    def rated(*errors):
        return pd.DataFrame(
            {"user_id": list("ab"), "truth": 3.0, "prediction": 3.0 + np.array(errors)}
        )

    frames = {"base": [rated(1.0, -1.0)], "llama4rec": [rated(0.5, -0.2)]}
    rows = evaluation.measure("rating", "deepfm", frames, {"history": np.array([0, 2])})
    row = next(r for r in rows if (r["variant"], r["metric"]) == ("llama4rec", "RMSE"))
    assert row["values"] == [pytest.approx((0.29 / 2) ** 0.5)] and row["effect"] > 0
    assert row["slices"]["history"] == {"tail": pytest.approx(0.5), "head": pytest.approx(0.2)}
    assert row["tails"] == {}, "one user a third is too few"
    twice = {
        name: [pd.concat([frame, frame.assign(user_id=list("cd"))])]
        for name, (frame,) in frames.items()
    }
    rows = evaluation.measure("rating", "deepfm", twice, {"history": np.array([0, 2, 0, 2])})
    told = next(r for r in rows if (r["variant"], r["metric"]) == ("llama4rec", "RMSE"))["tails"][
        "history"
    ]
    assert told["level"]["difference"] == pytest.approx(0.3), "errors are larger in the tail"
    assert told["gain"]["difference"] == pytest.approx(-0.3), "and fall less there"


def test_one_weight_serves_all_seeds_and_a_uniform_one_is_found_too():
    turned, kept = [[2, 1], [2, 1]], [[1, 2], [1, 2]]
    cases = [
        case("listwise", "all", turned, rec=(2, 2)),
        case("listwise", "all", kept, rec=(2, 2)),
    ]  # two seeds
    grid = [
        model_selection._evaluate_weights({"alpha_1": a, "alpha_2": 0.9}, cases)
        | {"alpha_1": a, "alpha_2": 0.9}
        for a in (0.1, 0.9)
    ]
    (name,) = {c["name"] for c in cases}
    two = 1 / np.log2(3)
    assert [g[name] for g in grid] == pytest.approx([two, (1 + two) / 2]), (
        "the mean over both seeds"
    )
    weights = {
        name: [{"alpha_1": g["alpha_1"], "alpha_2": g["alpha_2"], "value": g[name]} for g in grid]
    }
    (chosen,) = model_selection._decide(cases, weights, (0.1, 0.3, 0.7, 0.9))
    assert (chosen["alpha_1"], chosen["uniform"]) == (0.9, 0.7), (
        "equal values go to the smaller weight"
    )


def test_an_answer_is_known_by_its_prompt_and_options(tmp_path):
    def asked(folder, *rows):
        frame = pd.DataFrame(
            [(i, "pair", text, "score", "", options, ["1", "2"]) for i, text, options in rows]
        )
        (tmp_path / folder).mkdir()
        table = PROMPTS.from_frame(frame.set_axis(list(PROMPTS.columns), axis=1), folder)
        pq.write_table(table, tmp_path / folder / "prompts.parquet")
        return str(tmp_path / folder)

    got = pd.DataFrame(
        {
            "prompt_id": ["0/a", "0/c"],
            "answer": "",
            "tokens_in": 5,
            "tokens_out": 1,
            "logprobs": [np.array([-1.0, -2.0], np.float32), np.array([])],
            "finished_at": 9.0,
        }
    )
    cache, partial = str(tmp_path / "answers"), str(tmp_path / "partial")

    def pending(prompts, partial, questions):
        folders = answer_cache.Folders(prompts, cache, str(tmp_path / partial), str(questions))
        return answer_cache.write_pending(folders, "x")

    first = asked(
        "first",
        ("0/a", "which?", [" x", " y"]),
        ("0/b", "what?", [" x", " y"]),
        ("0/c", "who?", [" x", " y"]),
    )
    todo = str(tmp_path / "todo")
    assert pending(first, "partial", todo) == (3, 0, 0, 3)
    answer_cache.add_to_cache(answer_cache.read_prompts(first, ["prompt_id"]), got, cache, "k")
    second = asked(
        "second",
        ("1/z", "which?", [" x", " y"]),
        ("1/d", "which?", [" x", " z"]),
        ("1/e", "what?", [" x", " y"]),
        ("1/f", "which?", [" x", " z"]),
    )
    for to in ("todo 2", "todo 3"):  # what a cut-off run recalled is there again
        assert pending(second, "partial", tmp_path / to) == (4, 1, 0, 2)
        left = pd.read_parquet(tmp_path / to)
        assert left["prompt"].tolist() == ["which?", "what?"], "what is asked twice is put once"
        assert [o.tolist() for o in left["options"]] == [[" x", " y", " z"], [" x", " y"]], (
            "with the options of all its prompts"
        )
    row = pd.read_parquet(tmp_path / "partial").iloc[0]
    assert (row["prompt_id"], list(row["logprobs"]), row["finished_at"]) == (
        "1/z",
        [-1.0, -2.0],
        0.0,
    )
    rest = pd.DataFrame(
        {
            "prompt_id": left["prompt_id"],
            "answer": "",
            "logprobs": [[-1.0, -5.0, -2.0], []],
            "tokens_in": 7,
            "tokens_out": 1,
        }
    )
    rest.assign(finished_at=[100.0, 200.0]).to_parquet(
        tmp_path / "partial" / "from-an-engine.parquet"
    )  # lists of doubles
    (tmp_path / "out").mkdir()
    made = Context(Store(str(tmp_path)), "completions/x", "k" * 64, tmp_path / "out", "", {})
    facts = completions._merge(made, answer_cache.Folders(second, cache, partial, ""), 150.0, "m")
    assert (facts["generated"], facts["generated_tokens"]) == (1, 1), (
        "no speed is told of what a cut-off run left"
    )
    assert (facts["rows"], facts["reused"], facts["repeated"], facts["tokens_in"]) == (4, 2, 1, 14)
    told = pd.read_parquet(tmp_path / "out" / "completions.parquet").set_index("prompt_id")
    assert (
        list(told.index) == ["1/d", "1/e", "1/f", "1/z"] and len(told.loc["1/e", "logprobs"]) == 0
    )
    assert [list(told.loc[i, "logprobs"]) for i in ("1/d", "1/f", "1/z")] == [
        [-1.0, -2.0],
        [-1.0, -2.0],
        [-1.0, -2.0],
    ]
    assert (told["finished_at"] > answer_cache.REUSED).tolist() == [True, True, False, False], (
        "a question's first prompt bears its cost"
    )
    before = pending(second, "nothing", tmp_path / "todo 4")
    assert before == (4, 3, 0, 1), "an answer is known by its prompt's options, none is not known"
    third = asked("third", ("2/a", "which?", [" x", " z"]), ("2/b", "which?", [" x", " y"]))
    assert pending(third, "other", todo) == (2, 2, 0, 0)
    fourth = asked("fourth", ("3/a", "who?", [" x", " y"]))
    left = pending(fourth, "last", todo)
    assert left == (1, 0, 0, 1), "what got no answer is asked again"


def test_where_nothing_is_asked_no_worker_is_waited_for(tmp_path, monkeypatch):
    store, key = Store(str(tmp_path)), "k" * 64
    with store.writing("prompts/none", key, {}) as out:
        (out / "prompts").mkdir()
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(completions.session, "in_worker", None)
    inputs = {"prompts": ("prompts/none", key)}
    made = Context(
        store, "completions/none", key, tmp_path / "out", str(tmp_path / "scratch"), inputs
    )
    facts = completions._generate(made, "m", lambda: pytest.fail("an engine was started"), [], 1.0)
    assert (facts["rows"], facts["generated"], facts["prompts"]) == (0, 0, "prompts/none")
    assert not len(pd.read_parquet(tmp_path / "out" / "completions.parquet"))


def test_attributes_are_judged_by_the_truth_and_by_another_llm(tmp_path):
    store, key = Store(str(tmp_path)), "k" * 64
    truth = true_attributes(load("toy").data)["director"]
    items = sorted(truth)[:4]
    wrong = next(v for v in truth.values() if v != truth[items[1]])
    with store.writing("augmentation", key, {}) as out:
        values = [truth[items[0]], wrong, "unknown", truth[items[3]]]
        pd.DataFrame({"item_id": items, "director": values}).to_parquet(out / "attributes.parquet")

    def context(*names):
        (tmp_path / "out").mkdir(exist_ok=True)
        return Context(
            store, "s", key, tmp_path / "out", "", {n.split("/")[0]: (n, key) for n in names}
        )

    (line,) = attribute_accuracy.judged(context("augmentation"), load("toy"))["lines"]
    assert line == {
        "attribute": "director",
        "drawn": 4,
        "not known": 1,
        "truth known": 3,
        "right": 2,
    }
    run = load("toy", {"judge": {"url": "http://127.0.0.1:9/v1", "model": "m"}})
    with store.writing("data", key, {}) as out:
        read(run.data).save(out)
    with store.writing("prompts/judge", key, {}) as out:
        made = context("augmentation", "data")
        assert attribute_accuracy.judge_prompts(
            Context(store, "s", key, out, "", made.inputs), run
        ) == {"rows": 3}
    with store.writing("completions/judge", key, {}) as out:
        said = pd.DataFrame(
            {
                "prompt_id": [f"judge/director/{i}" for i in (items[0], items[1], items[3])],
                "answer": ["yes", "yes", "?"],
            }
        )
        said.assign(logprobs=[[]] * 3).to_parquet(out / "completions.parquet")
    got = attribute_accuracy.judged(
        context("augmentation", "prompts/judge", "completions/judge"), run
    )
    (line,) = got["lines"]
    assert (line["judged correct"], line["judged not correct"], line["rejected"]) == (2, 0, 1)
    assert line["judge agrees with the truth"] == 1 and got["rejected"] == {"not_an_option": 1}


def test_waves_of_variants():
    assert list(variants.waves(("base", "llama4rec"))) == ["llama4rec"]
    assert variants.source("wo_aa") == "llama4rec" and variants.WAVES["wo_pa"].llm == "plain"
    run = load("toy", {"variants": ["wo_pa"], "seeds": 2})
    assert run.variants == ("base", "wo_pa", "llama4rec")
    names = [s.name for s in stages.plan(run)]
    assert {
        "llm/plain",
        "completions/augment_plain",
        "seed1/augmented_plain/sasrec",
        "prompts/wo_pa",
    } <= set(names)
    assert (
        not [n for n in names if "ift" in n or "wo_da" in n] and names.count("llm/augmented") == 1
    )
    warm = {
        s.name: s.inputs for s in stages.plan(load("toy", {"augment.warm_start": True, "seeds": 2}))
    }
    assert (
        warm["seed1/augmented/sasrec"]["start"] == "seed1/base/sasrec"
        and "start" not in warm["seed1/base/sasrec"]
    )


def test_in_each_round_the_models_of_the_last_one_guide_the_llm():
    made = {
        s.name: s.inputs
        for s in stages.plan(load("toy", {"augment.rounds": 3, "variants": ["wo_pa"]}))
    }
    assert made["prompts/augment_plain@3"]["model/0/sasrec"] == "seed0/augmented_plain@2/sasrec"
    assert "model/0/deepfm" not in made["prompts/augment@2"]  # ratings have no lists to draw from
    assert made["seed0/augmentation@2"]["before"] == "seed0/augmentation@1"
    assert made["seed0/augmentation"] == {
        "prompts": "prompts/augment@3",
        "completions": "completions/augment@3",
        "before": "seed0/augmentation@2",
    }
    assert made["seed0/augmented/sasrec"]["augmentation"] == "seed0/augmentation"
    once = {s.name: s.inputs for s in stages.plan(load("toy"))}
    assert "before" not in once["seed0/augmentation"] and not [n for n in once if "@" in n]


def test_additions_of_rounds_are_joined_and_read_by_backbone(tmp_path):
    def put(folder, asked):
        made = pd.DataFrame(
            asked, columns=["prompt_id", "template", "answer", "options", "payload"]
        )
        (folder / "prompts" / "prompts").mkdir(parents=True)
        pq.write_table(
            PROMPTS.from_frame(
                made.drop(columns="answer").assign(prompt="", mode="score", pattern=""), "test"
            ),
            folder / "prompts" / "prompts" / "part-0.parquet",
        )
        (folder / "completions").mkdir()
        got = made[["prompt_id", "answer"]].assign(
            logprobs=[[-1.0, -2.0]] * len(made), tokens_in=1, tokens_out=1, finished_at=1.0
        )
        pq.write_table(
            COMPLETIONS.from_frame(got, "test"), folder / "completions" / "completions.parquet"
        )

    def joined(name, **inputs):
        out = tmp_path / name / "out"
        out.mkdir()
        context = SimpleNamespace(
            name=name, out=out, inputs=inputs, input=lambda local: inputs[local]
        )
        return augmentation.augmentation(context, 0), out

    two = [" A", " B"], ["x", "y"]
    put(
        tmp_path / "1",
        [("0/all/pair/u/1/0", "pair", " A", *two), ("1/all/pair/u/1/0", "pair", " A", *two)],
    )
    put(
        tmp_path / "2",
        [
            ("0/mf/pair/u/1/0", "pair", " A", [" A", " B"], ["p", "q"]),
            ("0/sasrec/pick/u/1/0", "pick", " A", *two),
        ],
    )
    first, before = joined(
        "1", prompts=tmp_path / "1" / "prompts", completions=tmp_path / "1" / "completions"
    )
    _, out = joined(
        "2",
        prompts=tmp_path / "2" / "prompts",
        completions=tmp_path / "2" / "completions",
        before=before,
    )
    assert first["pairs"] == 1  # the other is of another seed
    shared, own = Augmentation.read(out, "light_gcn"), Augmentation.read(out, "mf")
    assert (
        list(shared.pairs["preferred"]) == ["x"]
        and list(shared.pairs["user_id"]) == ["u/1"]
        and not len(shared.insertions)
    )
    assert len(own.pairs) == 2 and list(Augmentation.read(out, "sasrec").insertions["item_id"]) == [
        "x"
    ]


def test_sheets_have_the_papers_layout_and_stars_are_earned():
    def rows(backbone, task, metric, base, ift, ours, p):
        common = {
            "dataset": "d",
            "protocol": "all",
            "task": task,
            "backbone": backbone,
            "metric": metric,
            "std": 0.01,
            "n_users": 9,
            "published": 0.5 if ours == 0.3 else None,
            "slices": {"history": {"tail": base}},
        }
        tails = {
            "history": {
                kind: {"difference": d, "p": p} for kind, d in (("level", 0.1), ("gain", -0.2))
            }
        }
        common |= {"tails": tails} if backbone == "mf" else {}
        ours_row = {
            "variant": "llama4rec",
            "mean": ours,
            "against": "base",
            "p": p,
            "effect": 1.0,
            "detectable": 0.02,
        }
        ours_row |= {"oracle": 0.8} if task == "direct" else {}
        return [
            {**common, **r}
            for r in ({"variant": "base", "mean": base}, {"variant": "ift", "mean": ift}, ours_row)
        ]

    measured = rows("mf", "direct", "N@5", 0.2, 0.1, 0.3, 0.01)
    measured.insert(2, {**measured[0], "variant": "wo_pa", "mean": 0.35})
    measured += rows("light_gcn", "direct", "N@5", 0.4, 0.1, 0.3, 0.001)
    measured += rows("deepfm", "rating", "RMSE", 1.0, 1.2, 0.9, 0.04)
    direct, rating = result_tables.sheets(measured)
    assert [g["backbone"] for g in direct["groups"]] == ["MF", "LightGCN"] and rating[
        "metrics"
    ] == ["RMSE"]
    mf, light_gcn = direct["groups"]
    assert (
        mf["p"] == [pytest.approx(0.02)]
        and mf["gain"] == [pytest.approx(0.5)]
        and rating["groups"][0]["gain"] == [pytest.approx(0.1)]
    )
    ours = [g["lines"][-1]["cells"][0] for g in (mf, light_gcn, rating["groups"][0])]
    assert [c["best"] for c in ours] == [False, False, True]
    assert [c["star"] for c in ours] == [True, False, True], (
        "earned over the baselines, whatever an ablation has"
    )
    assert direct["gain"] == pytest.approx((0.5 - 0.25) / 2) and direct["claimed"] == 0.1465
    assert mf["oracle"] == 0.8 and rating["groups"][0]["oracle"] is None
    assert mf["slices"] == {"length of history": {"tail": (0.2, 0.2)}}
    told = {
        name: (d, pytest.approx(0.03)) for name, d in (("Base", 0.1), ("IFT", 0.1), ("gain", -0.2))
    }  # Holm: three times 0.01
    assert (
        mf["tails"] == {"length of history": told}
        and light_gcn["tails"] == {}
        and direct["tails"] == list(told)
    )
    run = {
        "dataset": "d",
        "protocol": "all",
        "seeds": 2,
        "commit": "c",
        "finished": "now",
        "versions": {"ray": "2"},
        "machine": {"cores": 2, "processor": "fast", "memory_gib": 24.0},
    }
    weight = {
        "task": "direct",
        "backbone": "mf",
        "ranking": "listwise",
        "alpha_1": 0.1,
        "alpha_2": 0.9,
        "validation": 0.25,
    }
    llm = {
        "model": "embedded",
        "parameters": 1000,
        "engine": "vllm",
        "tuning_seconds": 9.0,
        "instructions": 5,
        "steps": 7,
        "prompts": 40,
        "known": 4,
        "rejected": {"no_answer": 3},
        "prompts_per_second": 6.0,
        "tokens_in": 90,
        "tokens_out": 8,
        "refit_seconds": 2.0,
    }
    page = text.markdown([direct, rating], {"run": run, "aggregation": [weight], "llm": llm})
    assert (
        "| MF | Llama4Rec | 0.3000 ± 0.0100* (0.5000) |" in page and "| | gain | +50.0% |" in page
    )
    assert (
        "| | best order of the same candidates | 0.8000 |" in page
        and "Mean gain: +12.5%. The paper claims +14.65%" in page
    )
    assert "| | effect | +1.00 |" in page
    assert "| MF | length of history | 0.2000 → 0.2000 | | | +0.1000 (p 0.030) |" in page
    assert (
        "| direct | mf | listwise | 0.1 | 0.9 | 0.2500 |" in page
        and "| rejected answers | no_answer: 3 |" in page
    )
    shown = text.summary([direct, rating])
    assert "direct / MF (9 users)" in shown and "  gain            +50.0%" in shown


def test_test_prompts_are_pointwise_only_where_that_was_chosen(tmp_path, monkeypatch):
    asked = []
    really = model_selection.prompts_of

    def prompts_of(ctx, config, parts, made):
        asked.append(parts)
        return {"rows": 7} if parts else really(ctx, config, parts, made)  # which starts nothing

    monkeypatch.setattr(model_selection, "prompts_of", prompts_of)
    config = load("toy")
    for ranking, rows in (("listwise", 0), ("pointwise", 7)):
        store, key = Store(str(tmp_path / ranking)), "k" * 64
        read = [
            {"task": "rating", "backbone": "deepfm", "ranking": "pointwise"},
            {"task": "direct", "backbone": "light_gcn", "ranking": ranking},
        ]
        with store.writing("chosen/ift", key, {}) as out:
            (out / "chosen.json").write_text(json.dumps(read))
        ctx = Context(
            store, "prompts/ift-pointwise", key, tmp_path, "", {"chosen": ("chosen/ift", key)}
        )
        assert model_selection.pointwise_test_prompts(ctx, config, False)["rows"] == rows
    assert asked == [[], [(0, "direct", "light_gcn")]]


def test_a_part_becomes_asks_that_are_kept_and_prompts_with_its_prefix(toy, tmp_path):
    from raypipe.papers.llama4rec import prompts

    store, key = Store(str(tmp_path)), "k" * 64
    targets = (
        toy.target_rows("direct", "test").assign(split="test"),
        toy.target_rows("direct", "validation").assign(split="validation"),
    )
    lists = pd.concat(targets)[["user_id", "split"]].assign(
        items=lambda f: [list(toy.items[:12])] * len(f)
    )
    for name, save in (
        ("data", toy.dataset.save),
        ("split", toy.split.save),
        ("model", lambda at: lists.to_parquet(at / "lists.parquet")),
    ):
        with store.writing(name, key, {}) as out:
            save(out)
    read = {"data": ("data", key), "split": ("split", key), "model/0/mf": ("model", key)}
    ctx = Context(store, "prompts/ift", key, tmp_path / "out", "", read)
    given = {
        "tasks": ["direct"],
        "backbones": {"direct": ["mf"]},
        "rerank": {"k_prime": 12, "chunk": 5, "pointwise_users": 20},
    }
    config = load("toy", given)
    (part,) = prompts.of_backbones(config)
    assert part == (0, "direct", "mf")
    made = pd.concat(
        prompts.in_words(ctx, config, part, prompts.rerank_asks(ctx, config, False, part))
    )
    kept = prompts.read_asks(ctx.out, part)
    assert (
        made["prompt_id"].tolist() == [f"0/mf/{name}" for name in kept["ask_id"]]
        and made["prompt_id"].is_unique
    )
    listwise = kept[kept["template"] == "listwise"]
    assert len(listwise) == 3 * len(lists), "twelve candidates in chunks of five"
    single = kept[kept["template"] == "pointwise"]
    assert single["user_id"].nunique() == 20 and set(single["split"]) == {"validation"}
    assert len(single) == 20 * min(12, config.rerank.pointwise_k)

    config = load("toy", {**given, "rerank": {"k_prime": 12, "written": True}})
    made = pd.concat(
        prompts.in_words(
            replace(ctx, out=tmp_path / "other"),
            config,
            part,
            prompts.rerank_asks(ctx, config, False, part),
        )
    )
    order = made[made["template"] == "written"]
    assert (
        len(order) == len(lists)
        and set(order["mode"]) == {"form"}
        and set(order["options"].map(len)) == {12}
    )
    assert order["prompt_id"].str.startswith("0/mf/listwise/direct/").all()
