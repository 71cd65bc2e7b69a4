"""Answers are cached, reused, and requested again where they are missing."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from raypipe.cluster import ray_data
from raypipe.errors import ArtifactError, ConfigError, DryRun
from raypipe.llm.config import EndpointConfig, EngineConfig
from raypipe.llm.scripted import Engine
from raypipe.pipeline.stage import Context
from raypipe.pipeline.store import Store
from raypipe.schema import PROMPTS
from raypipe.steps import answer_cache, completions
from tests.support.one_process import Blocks


def test_answers_are_cached_by_prompt_and_options(tmp_path):
    def write_prompts(folder, *rows):
        frame = pd.DataFrame(
            [(i, "pair", text, "score", "", options, ["1", "2"]) for i, text, options in rows]
        )
        (tmp_path / folder).mkdir()
        table = PROMPTS.from_frame(frame.set_axis(list(PROMPTS.columns), axis=1), folder)
        pq.write_table(table, tmp_path / folder / "prompts.parquet")
        return str(tmp_path / folder)

    answers = pd.DataFrame(
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

    first = write_prompts(
        "first",
        ("0/a", "which?", [" x", " y"]),
        ("0/b", "what?", [" x", " y"]),
        ("0/c", "who?", [" x", " y"]),
    )
    todo = str(tmp_path / "todo")
    assert pending(first, "partial", todo) == (3, 0, 0, 3)
    answer_cache.add_to_cache(answer_cache.read_prompts(first, ["prompt_id"]), answers, cache, "k")
    second = write_prompts(
        "second",
        ("1/z", "which?", [" x", " y"]),
        ("1/d", "which?", [" x", " z"]),
        ("1/e", "what?", [" x", " y"]),
        ("1/f", "which?", [" x", " z"]),
    )
    for to in ("todo 2", "todo 3"):  # an interrupted run may repeat it
        assert pending(second, "partial", tmp_path / to) == (4, 1, 0, 2)
        left = pd.read_parquet(tmp_path / to)
        assert left["prompt"].tolist() == ["which?", "what?"], (
            "a prompt that occurs twice is sent once"
        )
        assert [o.tolist() for o in left["options"]] == [[" x", " y", " z"], [" x", " y"]], (
            "it carries the options of all its prompts"
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
    context = Context(Store(str(tmp_path)), "completions/x", "k" * 64, tmp_path / "out", "", {})
    facts = completions._merge(
        context, answer_cache.Folders(second, cache, partial, ""), 150.0, "m"
    )
    assert (facts["generated"], facts["generated_tokens"]) == (1, 1), (
        "the speed leaves out answers of an interrupted run"
    )
    assert (facts["rows"], facts["reused"], facts["repeated"], facts["tokens_in"]) == (4, 2, 1, 14)
    merged = pd.read_parquet(tmp_path / "out" / "completions.parquet").set_index("prompt_id")
    assert (
        list(merged.index) == ["1/d", "1/e", "1/f", "1/z"]
        and len(merged.loc["1/e", "logprobs"]) == 0
    )
    assert [list(merged.loc[i, "logprobs"]) for i in ("1/d", "1/f", "1/z")] == [
        [-1.0, -2.0],
        [-1.0, -2.0],
        [-1.0, -2.0],
    ]
    assert (merged["finished_at"] > answer_cache.REUSED).tolist() == [True, True, False, False], (
        "the first prompt of a question carries its tokens"
    )
    before = pending(second, "nothing", tmp_path / "todo 4")
    assert before == (4, 3, 0, 1), (
        "answers are found by the options of their prompt; an empty answer is not cached"
    )
    third = write_prompts("third", ("2/a", "which?", [" x", " z"]), ("2/b", "which?", [" x", " y"]))
    assert pending(third, "other", todo) == (2, 2, 0, 0)
    fourth = write_prompts("fourth", ("3/a", "who?", [" x", " y"]))
    left = pending(fourth, "last", todo)
    assert left == (1, 0, 0, 1), "a prompt without an answer is sent again"


def test_a_wave_without_prompts_starts_no_worker(tmp_path, monkeypatch):
    store, key = Store(str(tmp_path)), "k" * 64
    with store.writing("prompts/none", key, {}) as out:
        (out / "prompts").mkdir()
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(completions.session, "in_worker", None)
    inputs = {"prompts": ("prompts/none", key)}
    context = Context(
        store, "completions/none", key, tmp_path / "out", str(tmp_path / "scratch"), inputs
    )
    facts = completions._generate(
        context, "m", lambda: pytest.fail("an engine was started"), [], 1.0
    )
    assert (facts["rows"], facts["generated"], facts["prompts"]) == (0, 0, "prompts/none")
    assert not len(pd.read_parquet(tmp_path / "out" / "completions.parquet"))


def test_engines_that_do_not_fit_are_refused(monkeypatch):
    nodes = [{"Alive": True, "Resources": {"GPU": 8.0}}] * 2 + [
        {"Alive": False, "Resources": {"GPU": 8.0}}
    ]
    monkeypatch.setattr(completions.session.ray, "nodes", lambda: nodes)
    monkeypatch.setattr(completions.session, "gpus", lambda: 16)
    completions.check_capacity(EngineConfig(concurrency=16))
    completions.check_capacity(EngineConfig(concurrency=4, tensor_parallel=3))
    with pytest.raises(ConfigError, match=r"5 engine.* of 3 .* room for 4\n(.*\n)*.*at most 4"):
        completions.check_capacity(EngineConfig(concurrency=5, tensor_parallel=3))
    with pytest.raises(ConfigError, match=r"room for 0\n(.*\n)*.*no node has that many devices"):
        completions.check_capacity(EngineConfig(tensor_parallel=16))


@pytest.fixture
def shown(one_process, monkeypatch):
    """The lines that the stage posts."""
    shown: list[str] = []
    monkeypatch.setattr(completions.session, "post", shown.append)
    return shown


def context(store, prompts, out):
    """The context of the stage that answers `prompts`, (text, options) pairs, with the LLM of the
    stage llm/base.
    """
    key = "k" * 64
    rows = []
    for number, (text, options) in enumerate(prompts):
        rows.append((f"{out.name}/{number}", "pair", text, "score", "", options, []))
    frame = pd.DataFrame(rows, columns=list(PROMPTS.columns))
    with store.writing(f"prompts/{out.name}", key, {}) as folder:
        ray_data.write(PROMPTS.from_frame(frame, "test"), str(folder / "prompts"), "0")
    if store.manifest("llm/base", key) is None:
        with store.writing("llm/base", key, {}) as folder:
            (folder / "model").mkdir()
            (folder / "model" / "weights").write_text("w")
    out.mkdir()
    inputs = {"prompts": (f"prompts/{out.name}", key), "llm": ("llm/base", key)}
    scratch = f"{store.uri}/scratch/{out.name}"
    return Context(store, f"completions/{out.name}", out.name * 9, out, scratch, inputs)


def test_an_engine_gets_only_what_no_run_has_asked_it(tmp_path, shown):
    store, engine = Store(str(tmp_path / "run")), EngineConfig(name="scripted", batch_size=2)
    one = [("which?", [" x", " y"]), ("what?", [" x"]), ("who?", [" x"])]
    facts = completions.generate(context(store, one, tmp_path / "one"), engine)
    assert (facts["rows"], facts["generated"], facts["reused"]) == (3, 3, 0)
    assert facts["llm"] == "llm/base-kkkkkkkkkkkk" and facts["by template"] == {"pair": 3}
    assert not shown
    two = [("which?", [" x", " y"]), ("whose?", [" x"])]
    facts = completions.generate(context(store, two, tmp_path / "two"), engine)
    assert (facts["rows"], facts["generated"], facts["reused"]) == (2, 1, 1)
    assert shown == ["    1 of 2 answers come from the cache"]
    first, second = (
        pd.read_parquet(tmp_path / out / "completions.parquet").set_index("prompt_id")
        for out in ("one", "two")
    )
    assert first.loc["one/0", "logprobs"].tolist() == second.loc["two/0", "logprobs"].tolist()
    facts = completions.generate(context(store, two[:1], tmp_path / "three"), engine)
    assert facts["reused"] == 1, "an engine that has nothing to answer does not start"


def test_an_engine_that_loses_prompts_ends_the_stage(tmp_path, shown):
    class Lossy:
        def apply(self, prompts):
            (questions,) = prompts.tables
            return Engine("", EngineConfig(name="scripted")).apply(Blocks([questions.slice(0, 1)]))

    made = context(
        Store(str(tmp_path / "run")), [("which?", [" x"]), ("who?", [" x"])], tmp_path / "one"
    )
    with pytest.raises(ArtifactError, match="the engine gave no answer to 1 of 2 prompts"):
        completions._generate(made, "m", Lossy, [], 1.0)
    facts = completions._generate(
        made, "m", lambda: Engine("", EngineConfig(name="scripted")), [], 1.0
    )
    assert facts["rows"] == 2 and shown == ["    1 of 2 prompts were answered before"]


def test_an_endpoint_costs_what_its_tokens_cost_and_a_dry_run_costs_nothing(
    tmp_path, shown, monkeypatch
):
    monkeypatch.setattr(
        completions, "EndpointEngine", lambda endpoint: Engine("", EngineConfig(name="scripted"))
    )
    endpoint = EndpointConfig(
        url="http://127.0.0.1:9/v1",
        model="m",
        dry_run=True,
        dollars_in=2e6,
        dollars_out=5e6,
        max_tokens=10,
        requests_per_minute=1,
    )
    made = context(
        Store(str(tmp_path / "run")), [("one two?", [" x"]), ("three?", [" x"])], tmp_path / "one"
    )
    with pytest.raises(DryRun) as end:
        completions.generate_by_endpoint(made, endpoint, 1.0)
    assert "2 requests to m" in str(end.value) and "at most 20 answer tokens" in str(end.value)
    assert "at most 107.00 dollars, at least 2 min" in str(end.value)
    assert not list((tmp_path / "one").iterdir())
    facts = completions.generate_by_endpoint(
        made, endpoint.model_copy(update={"dry_run": False}), 1.0
    )
    assert (facts["tokens_in"], facts["tokens_out"]) == (3, 2) and facts["dollars"] == 16.0
    with pytest.raises(DryRun, match="0 requests to m"):
        completions.generate_by_endpoint(made, endpoint, 1.0)
