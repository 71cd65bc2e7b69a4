"""Who is asked which question."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.papers.llama4rec import prompt_requests, rendering
from raypipe.papers.llama4rec.config import PromptConfig, load


def ask_of(toy, **fields):
    base = {
        "ask_id": "x",
        "template": "listwise",
        "user_id": "u",
        "task": "direct",
        "split": "test",
        "history": [0, 1],
    }
    return prompt_requests.Ask(**{**base, "candidates": [2, 3], **fields})


def test_evaluation_and_serving_word_the_same_ask_alike(toy, tmp_path):
    toy.dataset.save(tmp_path)
    ask = ask_of(toy, hint=[3], similar=[4])
    batch = rendering.render_batch(pd.DataFrame([ask]), tmp_path, "title")
    alone = rendering.render(ask, rendering.Catalogue.of(toy.dataset), "title")
    assert batch["prompt"][0] == alone.text and batch["options"][0] == alone.options
    assert batch["payload"][0] == (toy.items[2], toy.items[3])


def test_the_answer_of_a_tuning_ask_is_its_true_option(toy):
    book = rendering.Catalogue.of(toy.dataset)
    ask = ask_of(toy, answer=3)
    assert (
        rendering.answer(ask, rendering.render(ask, book, "title"), book) == f' "{book.titles[3]}"'
    )
    rated = ask_of(toy, template="pointwise", ratings=[3.0, 4.0], candidates=[2], answer=4.4)
    assert rendering.answer(rated, rendering.render(rated, book, "title"), book) == " 4"


def lists_of(toy, task, part, depth=50):
    """Lists in which the target stands at a chosen depth."""
    made = {}
    for n, row in enumerate(toy.target_rows(task, part).itertuples()):
        others, place = np.delete(np.arange(len(toy.items)), row.i), min(n % 60, len(toy.items) - 1)
        made[row.user_id, prompt_requests.split_name(part, row.position)] = np.insert(
            others, place, row.i
        )[:depth]
    return made


def test_tuning_asks_hold_their_target_and_nothing_later(toy):
    histories = prompt_requests.Histories(toy)
    lists = lists_of(toy, "sequential", "held")
    made = prompt_requests.listwise(
        toy, histories, "sequential", "held", lists, {}, PromptConfig(), 10, 0
    )
    assert len(made) > 20
    whole = toy.rows("sequential")
    for ask in made.itertuples():
        assert ask.answer in ask.candidates and len(set(ask.candidates)) == 10
        own = whole[whole["user_id"] == ask.user_id].sort_values("position")["i"].tolist()
        before = own[: own.index(ask.answer)]
        assert list(ask.history) == before[-20:], "the history ends before the target"
        assert set(ask.hint) <= set(ask.candidates)


def test_prompts_about_ratings_read_a_longer_history(toy):
    histories = prompt_requests.Histories(toy)
    made = prompt_requests.rating(toy, histories, "test", None, None, PromptConfig(history=4), 9, 0)
    assert max(len(a.history) for a in made.itertuples()) == 9
    for ask in made.itertuples():
        assert list(ask.history) == list(histories.rated[ask.user_id].items[-9:]) and len(
            ask.ratings
        ) == len(ask.history)
    lists = lists_of(toy, "sequential", "test", 3)
    listed = prompt_requests.listwise(
        toy, histories, "sequential", "test", lists, None, PromptConfig(history=4), 3, 0
    )
    single = prompt_requests.pointwise_candidates(
        listed, histories, None, PromptConfig(history=4), 9
    )
    assert max(map(len, listed["history"])) == 4 and max(map(len, single["history"])) == 9
    given = {}, {"llm.source": "org/model"}, {"prompts.rated": 7}
    assert [load("toy", g).rated for g in given] == [50, 20, 7]


def test_lists_are_read_as_numbers_from_whatever_wrote_them(toy, tmp_path):
    ids = list(toy.items)
    first = pa.table(
        {"user_id": ["u", "v"], "split": ["test", "test"], "items": [[ids[3], ids[0]], []]}
    )
    second = pa.table(
        {
            "user_id": ["u"],
            "split": ["held4"],
            "items": [[ids[5], "nothing", ids[3]]],
            "target": [ids[5]],
        }
    )
    wanted = {("u", "test"): [3, 0], ("v", "test"): [], ("u", "held4"): [5, -1, 3]}
    for name, plain in (
        ("new", True),
        ("old", False),
    ):  # parquet-cpp once called the elements of lists "item"
        folder = tmp_path / name
        folder.mkdir()
        for number, part in enumerate((first, second)):
            pq.write_table(part, folder / f"{number}.parquet", use_compliant_nested_type=plain)
        assert {whose: own.tolist() for whose, own in toy.read_lists(folder).items()} == wanted
    pq.write_table(second.slice(0, 0), tmp_path / "none.parquet")
    assert toy.read_lists(tmp_path / "none.parquet") == {}


def test_targets_that_no_hint_supports_are_left_out(toy):
    lists = lists_of(toy, "sequential", "held", depth=5)
    made = prompt_requests.listwise(
        toy, prompt_requests.Histories(toy), "sequential", "held", lists, None, PromptConfig(), 5, 0
    )
    held = toy.target_rows("sequential", "held")
    assert 0 < len(made) < len(held)
    assert all(len(a.hint) == 0 and len(a.similar) == 0 for a in made.itertuples())


def test_pairs_and_picks_are_drawn_among_free_items(toy):
    histories = prompt_requests.Histories(toy)
    made = prompt_requests.augmentation(toy, histories, PromptConfig(), 2, 3, "pick", 0)
    assert len(made) == 2 * len(toy.users)
    for ask in made.itertuples():
        assert not set(ask.candidates) & set(histories.topk_train[ask.user_id].items)
        assert len(set(ask.candidates)) == 3
    again = prompt_requests.augmentation(toy, histories, PromptConfig(), 2, 3, "pick", 0)
    assert all((a == b).all() for a, b in zip(made["candidates"], again["candidates"], strict=True))


def test_in_later_rounds_they_come_from_the_models_list(toy):
    histories = prompt_requests.Histories(toy)
    one, two = toy.users[:2]
    seen = histories.topk_train[one].items[0]
    ranked = {
        one: np.append(np.setdiff1d(np.arange(20), histories.topk_train[one].items)[:4], seen)
    }
    made = prompt_requests.augmentation(
        toy, histories, PromptConfig(similar=3), 1, 4, "pick", 0, ranked, {one: two}
    )
    assert list(made["user_id"]) == [one]  # the others have no list
    assert set(made["candidates"][0]) == set(ranked[one][:4])
    assert list(made["similar"][0]) == list(histories.topk_train[two].items[-3:])
