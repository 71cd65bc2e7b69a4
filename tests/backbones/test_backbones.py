"""The contract of backbones, tested for every backbone in the folders."""

from argparse import Namespace

import numpy as np
import pandas as pd
import pytest
import torch

from raypipe.backbones import adam, graph, negatives, registry, scoring
from raypipe.backbones.contract import FitData, Queries, Ragged
from raypipe.backbones.fit import FitContext, can_start, fit
from raypipe.backbones.interaction_matrices import Augmentation
from raypipe.backbones.scoring import predict, top_k
from raypipe.seeding import derive, generator
from tests.support.backbone_cases import ALL, CLOSED, RANKERS, checkerboard, options


@pytest.mark.parametrize("task,name", ALL)
def test_every_backbone_finds_the_planted_structure(task, name):
    data = checkerboard(task)
    if name == "popularity":
        pytest.skip("it gives all users the same list")
    result = fit(
        registry.find(task, name).Model,
        data,
        options(task, name, epochs=60, patience=60, dropout=0.0, contrast=0.01),
        0,
    )
    if task == "rating":
        error = predict(result.model, data.validation) - data.validation.rating
        assert np.abs(error).max() < 0.5
    else:
        # the user's block has one unseen item, the other block eight
        same = top_k(result.model, data.validation, 1, 0).items[:, 0] == data.validation.target
        assert same.mean() > 0.9


@pytest.mark.parametrize("task,name", [p for p in ALL if p[1] not in CLOSED])
def test_a_resumed_fit_equals_an_undisturbed_one_bit_for_bit(task, name, toy, tmp_path):
    data, build = toy.fit_data(task), registry.find(task, name).Model
    chosen = options(task, name, epochs=4)

    class CutOff(Exception):
        """Stands for a killed process."""

    def cut(write):
        write(tmp_path)
        if (tmp_path / "progress.json").read_text().startswith('{"epoch": 2'):
            raise CutOff

    whole = fit(build, data, chosen, 3)
    with pytest.raises(CutOff):
        fit(build, data, chosen, 3, FitContext(save=cut))
    rest = fit(build, data, chosen, 3, FitContext(resume=tmp_path))
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, rest.model.state_dict()[key]), key
    assert [c["loss"] for c in whole.curve] == [c["loss"] for c in rest.curve]
    other = fit(build, data, chosen, 4)
    assert [c["loss"] for c in whole.curve] != [c["loss"] for c in other.curve]


@pytest.mark.parametrize("task,name", RANKERS)
def test_lists_are_full_ranked_and_masked(task, name, toy):
    data, queries = toy.fit_data(task), toy.queries(task, "test")
    model = fit(registry.find(task, name).Model, data, options(task, name, epochs=1), 0).model
    lists = top_k(model, queries, len(toy.items), 0)
    for row in range(len(queries.user)):
        seen = queries.history.row(row)
        free = len(toy.items) - len(seen)
        assert not set(lists.items[row][:free]) & set(seen), "the history is masked"
        assert np.isneginf(lists.scores[row][free:]).all()
        assert lists.items[row][lists.target_rank[row] - 1] == queries.target[row]
    again = top_k(model, queries._replace(masked=False), len(toy.items), 0)
    assert np.isfinite(again.scores).all()
    small = top_k(model, queries, 5, 0, chunk=7)
    assert (small.items == lists.items[:, :5]).all() and (
        small.target_rank == lists.target_rank
    ).all()
    assert model.user_embeddings(data).shape[0] == len(toy.users)


def test_ties_do_not_favour_the_target():
    class Flat:
        n_items, context, device = 50, 1, torch.device("cpu")

        def eval(self):
            return self

        def begin_scoring(self):
            pass

        def score(self, user, history):
            return torch.zeros(len(user), 50)

    queries = Queries(
        np.zeros(50, np.int64), Ragged.from_lists([np.empty(0, np.int64)] * 50), np.arange(50)
    )
    lists = top_k(Flat(), queries, 5, 0)
    assert sorted(lists.target_rank) == list(range(1, 51)), (
        "each rank occurs once: ties treat the target like any other item"
    )


def test_hint_models_do_not_read_held_out_rows(toy):
    for task in registry.FOLDERS:
        data, held = toy.fit_data(task, hint=True), toy.target_rows(task, "held")
        training_pairs = set(zip(data.user, data.item, strict=True))
        assert len(held) > 50 and not training_pairs & set(zip(held["u"], held["i"], strict=True))
        if task != "rating":
            assert not any(
                i in data.sequences.row(u) for u, i in zip(held["u"], held["i"], strict=True)
            )


def test_augmentation_enters_the_training_data(toy):
    user, items = toy.users[0], toy.items
    length = len(toy.fit_data("sequential").sequences.row(0))
    extra = Augmentation(
        pairs=pd.DataFrame([(user, items[5], items[9])], columns=["user_id", "preferred", "other"]),
        insertions=pd.DataFrame([(user, items[7], 0.0)], columns=["user_id", "item_id", "place"]),
        attributes=pd.DataFrame({"item_id": items, "director": "Lee"}),
    )
    assert toy.fit_data("direct", extra=extra).pairs.tolist() == [[0, 5, 9]]
    row = toy.fit_data("sequential", extra=extra).sequences.row(0)
    assert len(row) == length + 1 and row[0] == 7
    plain, filled = toy.fit_data("rating"), toy.fit_data("rating", extra=extra)
    director = toy.dataset.items["director"]
    unknown = (director == "").to_numpy()
    assert len(set(plain.item_codes[unknown, -1])) == 1, (
        "without the LLM, a missing director is `unknown`"
    )
    assert len(set(filled.item_codes[unknown, -1])) == 1
    assert (plain.item_codes[~unknown, -1] != plain.item_codes[unknown, -1][0]).all()
    assert "Lee" not in set(director) and filled.item_sizes[-1] == plain.item_sizes[-1]


def test_models_learn_from_the_preference_pairs_of_the_llm(toy):
    data = toy.fit_data("direct")
    backbone = registry.find("direct", "light_gcn")
    pairs = np.array([[u, 1, 2] for u in range(30)])
    data = FitData(**{**vars(data), "pairs": pairs})
    model = fit(backbone.Model, data, options("direct", "light_gcn", epochs=30), 0).model
    model.begin_scoring()
    scores = model.score(torch.arange(30), torch.zeros(30, 1, dtype=torch.long))
    assert (scores[:, 1] > scores[:, 2]).float().mean() > 0.8


def test_light_gcn_agrees_with_torch_geometric(toy):
    from torch_geometric.nn.models import LightGCN

    data = toy.fit_data("direct")
    chosen = options("direct", "light_gcn", layers=2)
    model = registry.find("direct", "light_gcn").Model(data, chosen)
    reference = LightGCN(data.n_users + data.n_items, 16, 2)
    reference.embedding.weight.data.copy_(model.embedding.data)
    left, right = torch.from_numpy(data.user), torch.from_numpy(data.item) + data.n_users
    edges = torch.cat([torch.stack([left, right]), torch.stack([right, left])], 1)
    assert torch.allclose(model(), reference.get_embedding(edges), atol=1e-5)


def test_propagation_has_the_right_gradient():
    adjacency = graph.normalised_adjacency(np.array([0, 0, 1]), np.array([0, 1, 1]), 2, 2)
    x = torch.randn(4, 3, requires_grad=True)
    graph.propagate(adjacency, x).square().sum().backward()
    dense, y = adjacency.to_dense(), x.detach().clone().requires_grad_()
    (dense @ y).square().sum().backward()
    assert torch.allclose(x.grad, y.grad, atol=1e-6)
    assert dense[0, 2] == pytest.approx(1 / 2**0.5), "user 0 has 2 items, item 0 has 1 user"


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_mean_over_layers_equals_the_mean_of_separate_layers(depth):
    data = Namespace(user=np.array([0, 0, 1]), item=np.array([0, 1, 1]), n_users=2, n_items=2)
    whole = graph.Propagation(data, depth)
    thinned = graph.normalised_adjacency(data.user[:2], data.item[:2], 2, 2)
    for steps in (None, [thinned] * depth, [thinned, *[whole.adjacency] * (depth - 1)]):
        x = torch.randn(4, 3, requires_grad=True)
        y = x.detach().clone().requires_grad_()
        mean, expected = whole.mean(x, steps), graph.layer_mean(whole(y, steps=steps))
        assert torch.allclose(mean, expected, atol=1e-6)
        mean.square().sum().backward()
        expected.square().sum().backward()
        assert torch.allclose(x.grad, y.grad, atol=1e-6)


def test_the_last_items_of_ragged_histories():
    lists = Ragged.from_lists([np.array([1, 2, 3]), np.array([], dtype=int), np.array([4])])
    assert lists.last(np.array([0, 1, 2]), 2, 9).tolist() == [[2, 3], [9, 9], [9, 4]]
    assert len(lists) == 3 and lists.row(0).tolist() == [1, 2, 3]


def test_scores_are_ordered_by_value_and_then_by_place():
    scores = torch.tensor([[0.0, -0.0, -1.0, 1.0, -torch.inf, -2.5, 1.0, 3e-39]])
    place = torch.tensor([3, 1, 0, 5, 2, 6, 4, 7])
    key = scoring._ordered(scores, place)[0]
    # by value, then by place: the two ones (4 before 5), the denormal, the two zeros (1 before 3),
    # then the negatives
    assert key.argsort(descending=True).tolist() == [6, 3, 7, 1, 0, 2, 5, 4]


def test_two_training_steps_equal_adam_by_hand(toy):
    """With one batch per epoch, two epochs are two steps. The second step starts from a zero
    gradient.
    """
    data, build = toy.fit_data("direct"), registry.find("direct", "mf").Model
    chosen = options("direct", "mf", epochs=2, patience=2, batch_size=10**6)
    seen = []
    fit(
        build,
        data,
        chosen,
        5,
        FitContext(
            save=lambda write: seen.append(write.keywords["model"].embedding.detach().clone())
        ),
    )
    torch.manual_seed(derive(5, "init"))
    model = build(data, chosen)
    x, mean, square = model.embedding.detach().clone(), 0.0, 0.0
    for step in (1, 2):
        model.embedding.data = x.clone()
        model.embedding.grad = None
        (batch,) = model.batches(data, generator(5, "batches", step - 1))
        model.loss(*batch).backward()
        grad = model.embedding.grad
        mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad**2
        x = x - chosen.learning_rate * (mean / (1 - 0.9**step)) / (
            (square / (1 - 0.999**step)) ** 0.5 + 1e-8
        )
        assert torch.allclose(seen[step - 1], x, atol=1e-6), step


@pytest.mark.parametrize("task,name", [("direct", "mf"), ("direct", "ncf"), ("rating", "deepfm")])
def test_lazy_adam_updates_only_the_rows_of_the_batch(task, name, toy, monkeypatch):
    """The first step of lazy Adam is that of Adam. Later steps leave rows that are not in the batch
    unchanged.
    """
    data = toy.fit_data(task)
    tables = {}
    for limit in (0, 10**9):
        monkeypatch.setattr(adam, "LAZY_FROM", limit)
        torch.manual_seed(3)
        model = registry.find(task, name).Model(data, options(task, name, dropout=0.0))
        model.train()
        assert bool(model.lazy) == (limit == 0)
        optimizer = adam.Adam(model, model.lazy, 0.01)
        first_batch, second_batch = (
            tuple(part[rows] for part in next(model.batches(data, generator(0, "b"))))
            for rows in (slice(0, 8), slice(8, 16))
        )
        steps = []
        for batch in (first_batch, second_batch):
            optimizer.zero_grad()
            model.loss(*batch).backward()
            optimizer.step()
            steps.append({k: v.detach().clone() for k, v in model.named_parameters()})
            if batch is first_batch:
                slope = {k: v.grad.to_dense().abs() for k, v in model.named_parameters()}
        tables[limit] = steps
    for key, dense in tables[10**9][0].items():
        steep = (
            slope[key] > 1e-4
        )  # where the gradient is tiny, the two differ by where they add eps
        assert torch.allclose(tables[0][0][key][steep], dense[steep], atol=2e-4), key
    first, second = (step[model.lazy[0] if model.lazy else LAZY[name]] for step in tables[0])
    moved = (first != second).any(1)
    assert 0 < moved.sum() < len(moved)
    dense_moved = (tables[10**9][0][LAZY[name]] != tables[10**9][1][LAZY[name]]).any(1)
    assert dense_moved.sum() > moved.sum(), "dense Adam still moves the rows of the first batch"


LAZY = {"mf": "embedding", "ncf": "user.weight", "deepfm": "table.weight"}


def test_a_fit_can_start_from_the_weights_of_another():
    data, build = checkerboard("direct"), registry.find("direct", "mf").Model
    chosen = options("direct", "mf", epochs=30, patience=30)
    first = fit(build, data, chosen, 0)
    weights = first.model.state_dict()
    assert can_start(weights, build, data, chosen)
    more = fit(
        build, data, options("direct", "mf", epochs=1), 1, FitContext(initial_weights=weights)
    )
    assert more.curve[0]["loss"] < 0.8 * first.curve[0]["loss"]
    wider = options("direct", "mf", embedding_size=8)
    assert not can_start(weights, build, data, wider) and not can_start({}, build, data, chosen)


def test_a_resumed_fit_with_lazy_adam_equals_an_undisturbed_one(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(adam, "LAZY_FROM", 0)
    data, build = toy.fit_data("direct"), registry.find("direct", "mf").Model
    chosen = options("direct", "mf", epochs=6, patience=6, batch_size=64)

    def keep(write):
        if write.keywords["state"].epoch == 3:
            write(tmp_path)

    whole = fit(build, data, chosen, 1, FitContext(save=keep))
    rest = fit(build, data, chosen, 1, FitContext(resume=tmp_path))
    assert [line["loss"] for line in rest.curve] == [line["loss"] for line in whole.curve]
    assert torch.equal(rest.model.embedding, whole.model.embedding)


@pytest.mark.parametrize("slots", [7, 10**9])
def test_negatives_are_never_training_items(slots, toy, monkeypatch):
    monkeypatch.setattr(negatives, "SLOTS", slots)
    data = toy.fit_data("direct")
    sampler = negatives.Negatives(data)
    every = np.arange(data.n_users * data.n_items)
    pairs = data.user * data.n_items + data.item
    assert (sampler.known(every) == np.isin(every, pairs)).all()
    drawn = sampler.draw(data.user, 3, generator(0, "n"))
    assert not np.isin(data.user[:, None] * data.n_items + drawn, pairs).any()


def test_light_gcn_batches_grow_with_the_log(toy):
    data = toy.fit_data("direct")
    model = registry.find("direct", "light_gcn").Model(
        data, options("direct", "light_gcn", batch_size=8, steps=5)
    )
    sizes = [len(batch[0]) for batch in model.batches(data, generator(0, "b"))]
    assert len(sizes) == 5 and sum(sizes) == len(data.user)
