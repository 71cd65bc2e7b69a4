"""Requests for prompts: which user, which candidates, which history."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.papers.llama4rec import (
    augmentation_requests,
    prompt_requests,
    rendering,
    tuning_requests,
)
from raypipe.papers.llama4rec.config import PromptConfig
from raypipe.papers.llama4rec.histories import Histories


def builder_of(toy, config=None, similar=None, rating_history_length=20):
    return prompt_requests.RequestBuilder(
        toy, Histories(toy), config or PromptConfig(), rating_history_length, 0, "mf", similar
    )


def request_of(template="listwise_logprobs", **fields):
    content = {"history": [0, 1], "candidates": [2, 3]} | fields
    return prompt_requests.PromptRequest(0, "mf", template, "direct", "test", "u", **content)


def test_a_table_of_requests_is_rendered_like_a_single_one(toy):
    catalogue = rendering.Catalogue.of(toy.dataset)
    request = request_of(hint=[3], similar=[4])
    table = rendering.render_table(prompt_requests.table([request]), catalogue, "title")
    alone = rendering.render(request, catalogue, "title")
    assert table["prompt"][0] == alone.text and table["options"][0] == alone.options
    assert table["payload"][0] == (toy.items[2], toy.items[3])
    identity = list(prompt_requests.IDENTITY)
    assert table.loc[0, identity].tolist() == list(request[: len(identity)])


def test_the_answer_of_a_tuning_request_is_its_true_option(toy):
    catalogue = rendering.Catalogue.of(toy.dataset)

    def answer(request):
        prompt = rendering.render(request, catalogue, "title")
        return rendering.answer(request, prompt, catalogue)

    assert answer(request_of(answer=3)) == f' "{catalogue.titles[3]}"'
    rated = request_of("pointwise", ratings=[3.0, 4.0], candidates=[2], answer=4.4)
    assert answer(rated) == " 4"


def lists_of(toy, task, part, depth=50):
    """Lists in which the target stands at a chosen depth."""
    lists = {}
    for n, row in enumerate(toy.target_rows(task, part).itertuples()):
        others, place = np.delete(np.arange(len(toy.items)), row.i), min(n % 60, len(toy.items) - 1)
        lists[row.user_id, prompt_requests.split_name(part, row.position)] = np.insert(
            others, place, row.i
        )[:depth]
    return lists


def test_tuning_requests_hold_their_target_and_nothing_later(toy):
    lists = lists_of(toy, "sequential", "held")
    builder = builder_of(toy, similar={})
    requests = tuning_requests.rerank_tuning_requests(builder, "sequential", lists, 10, 1000)
    assert len(requests) > 20
    whole = toy.rows("sequential")
    for request in requests.itertuples():
        assert request.answer in request.candidates and len(set(request.candidates)) == 10
        rows = whole[whole["user_id"] == request.user_id].sort_values("position")["i"].tolist()
        before = rows[: rows.index(request.answer)]
        assert list(request.history) == before[-20:], "the history ends before the target"
        assert set(request.hint) <= set(request.candidates)


def test_prompts_about_ratings_read_a_longer_history(toy):
    builder = builder_of(toy, PromptConfig(history=4), rating_history_length=9)
    requests = prompt_requests.rating_requests(builder, "test", None)
    assert max(len(request.history) for request in requests.itertuples()) == 9
    training = builder.histories.training_ratings
    for request in requests.itertuples():
        assert list(request.history) == list(training[request.user_id].items[-9:])
        assert len(request.ratings) == len(request.history)
    lists = lists_of(toy, "sequential", "test", 3)
    listed = prompt_requests.rerank_requests(builder, "sequential", "test", lists, 3)
    single = prompt_requests.pointwise_requests(builder, "sequential", "test", lists, 3)
    assert max(len(request.history) for request in listed.itertuples()) == 4
    assert max(len(request.history) for request in single.itertuples()) == 9


def test_lists_become_item_numbers_from_both_parquet_forms(toy, tmp_path):
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
    expected = {("u", "test"): [3, 0], ("v", "test"): [], ("u", "held4"): [5, -1, 3]}
    for name, plain in (
        ("new", True),
        ("old", False),
    ):  # parquet-cpp once called the elements of lists "item"
        folder = tmp_path / name
        folder.mkdir()
        for number, part in enumerate((first, second)):
            pq.write_table(part, folder / f"{number}.parquet", use_compliant_nested_type=plain)
        assert {
            whose: numbers.tolist() for whose, numbers in toy.read_lists(folder).items()
        } == expected
    pq.write_table(second.slice(0, 0), tmp_path / "none.parquet")
    assert toy.read_lists(tmp_path / "none.parquet") == {}


def test_targets_outside_the_hint_lists_are_left_out(toy):
    lists = lists_of(toy, "sequential", "held", depth=5)
    requests = tuning_requests.rerank_tuning_requests(builder_of(toy), "sequential", lists, 5, 1000)
    held = toy.target_rows("sequential", "held")
    assert 0 < len(requests) < len(held)
    for request in requests.itertuples():
        assert len(request.hint) == 0 and len(request.similar) == 0


def test_pairs_and_picks_are_drawn_among_free_items(toy):
    builder, draw = builder_of(toy), augmentation_requests.Draw("pick", 2, 3)
    requests = augmentation_requests.augmentation_requests(builder, draw, 0)
    assert len(requests) == 2 * len(toy.users)
    for request in requests.itertuples():
        taken = builder.histories.training_positives[request.user_id].items
        assert not set(request.candidates) & set(taken)
        assert len(set(request.candidates)) == 3
    again = augmentation_requests.augmentation_requests(builder, draw, 0)
    pairs = zip(requests["candidates"], again["candidates"], strict=True)
    assert all((first == second).all() for first, second in pairs)


def test_in_later_rounds_candidates_come_from_the_list_of_the_model(toy):
    user, similar_user = toy.users[:2]
    builder = builder_of(toy, PromptConfig(similar=3), {user: similar_user})
    training = builder.histories.training_positives
    unseen = np.setdiff1d(np.arange(20), training[user].items)[:4]
    lists = {user: np.append(unseen, training[user].items[0])}
    draw = augmentation_requests.Draw("pick", 1, 4)
    requests = augmentation_requests.augmentation_requests(builder, draw, 0, lists)
    assert list(requests["user_id"]) == [user]  # the others have no list
    assert set(requests["candidates"][0]) == set(unseen)
    assert list(requests["similar"][0]) == list(training[similar_user].items[-3:])
