"""The corpus of the embedded LLM."""

import pandas as pd

from raypipe.data.config import DataConfig
from raypipe.data.dataset import read
from raypipe.data.split import make_split
from raypipe.llm import embedded
from raypipe.papers.llama4rec import llm as llm_stages
from raypipe.papers.llama4rec import rendering
from raypipe.papers.llama4rec.config import PromptConfig, load
from raypipe.papers.llama4rec.instructions import newest_histories
from raypipe.papers.llama4rec.stages import plan
from raypipe.pipeline.stage import Context
from raypipe.pipeline.store import Store
from tests.support.small_llm import SMALL


def test_the_corpus_holds_no_validation_or_test_item_as_an_answer(toy):
    rows = toy.rows("direct")
    train = rows[(rows["part"] == "train") & ~rows["held"]]
    taken = [g["i"].to_numpy() for _, g in train.groupby("u")]
    texts = [
        t
        for t in rendering.corpus(toy.dataset, taken, [], PromptConfig(history=5), 5)
        if t.startswith("The user watched")
    ]
    named = sum(t.count('"') // 2 for t in texts)
    assert len(texts) > len(toy.users)
    assert named >= sum(len(t) - 1 for t in taken if len(t) > 1), (
        "every training item is in some window"
    )


def test_the_corpus_holds_every_rating_once_in_windows_of_the_rating_history(toy):
    rows = toy.rows("rating")
    rated = [
        (g["i"].to_numpy(), g["rating"].to_numpy())
        for _, g in rows[rows["part"] == "train"].groupby("u")
    ]
    texts = [
        t
        for t in rendering.corpus(toy.dataset, [], rated, PromptConfig(history=5), 9)
        if t.startswith("The user rated")
    ]
    counts = [t.count('":') for t in texts]
    assert max(counts) == 9 and sum(counts) == sum(len(items) for items, _ in rated)


def test_the_embedded_llm_of_two_datasets_has_the_texts_and_titles_of_both(toy, tmp_path):
    small_toy = {"name": "toy", "options": {"users": 40, "items": 66}}
    store, key = Store(str(tmp_path)), "k" * 64
    for name, settings in (
        ("toy", small_toy),
        ("folder", {**small_toy, "options": {"users": 30, "items": 72}}),
    ):
        config = DataConfig(**settings)
        dataset = read(config)
        for part, facts in (
            ("data", dataset),
            ("split", make_split(dataset.interactions, config, 2)),
        ):
            with store.writing(f"{name}/{part}", key, {}) as out:
                facts.save(out)
    run = load(
        "toy",
        {
            "llm.tune.sources": [{"data": small_toy}, {"data": {"name": "folder"}}],
            "llm.embedded": SMALL.model_dump(),
        },
    )
    inputs = next(s for s in plan(run) if s.name == "llm/base").inputs
    out = tmp_path / "out"
    out.mkdir()
    ctx = Context(
        store, "llm/base", key, out, "", {local: (stage, key) for local, stage in inputs.items()}
    )
    facts = llm_stages._prepare_embedded(ctx, run, 0)
    tokenizer = embedded.PreTrainedTokenizerFast.from_pretrained(out / "untrained")
    read_texts = set(pd.read_parquet(out / "corpus.parquet")["answer"])
    shares = []
    for number in "01":
        source = llm_stages.tables(ctx, number)
        titles = source.dataset.items["title"]
        assert all(
            len(tokenizer(f' "{t}"', add_special_tokens=False)["input_ids"]) == 1 for t in titles
        )
        own_texts = set(
            rendering.corpus(source.dataset, [], [], run.prompts, run.rating_history_length)
        )
        assert own_texts <= read_texts
        shares.append(len(own_texts))
    assert facts["rows"] > sum(shares)


def test_the_newest_histories_end_with_the_last_training_item(toy):
    texts = newest_histories(toy, load("toy", {"prompts.history": 4}))
    titles, rows = toy.dataset.items["title"].to_numpy(), toy.rows("direct")
    for user, user_rows in rows.groupby("user_id"):
        train = list(titles[user_rows[user_rows["part"] == "train"]["i"].to_numpy()])
        (text,) = texts.loc[texts["request_id"] == f"newest/{user}", "answer"]
        assert text.endswith(f'Answer: "{train[-1]}"') and [
            text.count(f'"{t}"') for t in train[-5:]
        ] == [1] * len(train[-5:])
        assert not any(
            f'"{t}"' in text
            for t in titles[user_rows[user_rows["part"] != "train"]["i"].to_numpy()]
        )
    assert (texts["prompt"] == "").all() and len(texts) == len(toy.users)
    (labelled,) = newest_histories(
        toy, load("toy", {"prompts.history": 4, "prompts.answers": "label"})
    )["answer"].tail(1)
    assert labelled.endswith(f'"{train[-1]}".') and "Answer" not in labelled, (
        "with labels, the text does not end in a question and a title"
    )
