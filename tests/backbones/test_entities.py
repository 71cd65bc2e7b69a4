"""Users and items from text vectors: RecLM's formulas, and scores of cold-start items."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from raypipe.backbones import registry
from raypipe.backbones.contract import FitData, Ragged, SetQueries
from raypipe.backbones.entities import Entities, TextVectors
from raypipe.backbones.extension import NewItems, NewUser, extend_model
from raypipe.backbones.fit import FitContext, fit, validate
from raypipe.backbones.negatives import Negatives
from raypipe.backbones.scoring import top_sets
from raypipe.evaluation import metrics
from tests.support.backbone_cases import options

READERS = [
    name for name in registry.names("direct") if registry.find("direct", name).Model.takes_texts
]


USERS, ITEMS, UNSEEN = 40, 70, tuple(range(30, 70))


def tastes():
    """Two groups of users with opposite tastes, which only item texts show. The last forty items
    have no training rows.
    """
    rng = np.random.default_rng(0)
    text = np.where(np.arange(ITEMS)[:, None] % 2 == 0, 1.0, -1.0) * np.ones(6) + rng.normal(
        0, 0.3, (ITEMS, 6)
    )
    user, item, seen, right = [], [], [], []
    for u in range(USERS):
        user_items = [
            i for i in range(ITEMS) if i % 2 == u % 2 and i not in UNSEEN and rng.random() < 0.8
        ]
        user += [u] * len(user_items)
        item += user_items
        seen.append(np.array(user_items))
        right.append(np.array([i for i in UNSEEN if i % 2 == u % 2]))
    queries = SetQueries(
        np.arange(USERS), Ragged.from_lists(seen), Ragged.from_lists(right), np.array(UNSEEN)
    )
    codes = np.zeros((USERS, 0), np.int64), np.zeros((ITEMS, 0), np.int64)
    return FitData(
        USERS,
        ITEMS,
        np.array(user),
        np.array(item),
        np.ones(len(user), np.float32),
        Ragged.from_lists(seen),
        np.empty((0, 3), np.int64),
        *codes,
        (),
        (),
        queries,
        TextVectors(text.astype(np.float32)),
    )


def test_the_five_backbones_of_reclm_take_texts():
    assert (
        set(READERS) >= {"bias_mf", "ncf", "light_gcn", "sgl", "sim_gcl"}
        and "mix_gcf" not in READERS
    )


@pytest.mark.parametrize("profiled", ["nobody", "users", "items", "both"])
@pytest.mark.parametrize("name", READERS)
def test_cold_start_items_are_ranked_by_their_texts(name, profiled):
    data = tastes()
    rng = np.random.default_rng(1)
    noise = {
        "user_profile": rng.normal(size=(USERS, 6)),
        "item_profile": data.texts.item + rng.normal(0, 0.1, (ITEMS, 6)),
    }
    sides = {
        "nobody": [],
        "users": ["user_profile"],
        "items": ["item_profile"],
        "both": list(noise),
    }[profiled]
    data = replace(
        data, texts=data.texts._replace(**{side: noise[side].astype(np.float32) for side in sides})
    )
    result = fit(
        registry.find("direct", name).Model,
        data,
        options("direct", name, epochs=60, layers=2),
        3,
        FitContext(save=lambda write: None),
    )
    assert (
        validate(result.model, data, 3) > 0.9
    )  # twenty of the forty are right: chance gives a half


@pytest.mark.parametrize("name", READERS)
def test_a_cold_start_item_scores_like_a_trained_item_with_the_same_text(name):
    data = tastes()
    data.texts.item[UNSEEN[0]] = data.texts.item[0]
    torch.manual_seed(0)
    model = registry.find("direct", name).Model(data, options("direct", name)).eval()
    model.begin_scoring()
    scores = model.score(torch.arange(USERS), torch.full((USERS, 1), ITEMS))
    assert torch.allclose(scores[:, UNSEEN[0]], scores[:, 0], atol=1e-6)
    assert not torch.allclose(scores[:, UNSEEN[1]], scores[:, 0], atol=1e-3)


def test_input_vectors_follow_the_equations_of_the_paper():
    rng = np.random.default_rng(0)
    tables = TextVectors(
        *(rng.normal(size=(n, 5)).astype(np.float32) for n in (ITEMS, USERS, ITEMS))
    )
    torch.manual_seed(0)
    entities = Entities(tables, USERS, 4, 0.1)
    raw, users, items = (
        torch.nn.functional.normalize(torch.tensor(t), dim=1) * 5**0.5 for t in tables
    )
    expected_user = entities.fuse(torch.cat([entities.user, entities.pro(users)], dim=1))
    expected_item = entities.fuse(torch.cat([entities.raw(raw), entities.pro(items)], dim=1))
    assert torch.allclose(entities(), torch.cat([expected_user, expected_item]))
    added = Entities(tables, USERS, 4, 0.1, residual=True)
    assert torch.equal(added(), torch.cat([added.user, added.raw(raw)])), (
        "before training, profiles change nothing"
    )
    torch.nn.init.normal_(added.fuse[-1].weight)
    expected = added.raw(raw) + added.fuse(torch.cat([added.raw(raw), added.pro(items)], dim=1))
    assert torch.allclose(added()[USERS:], expected, atol=1e-6)
    one_sided = Entities(tables._replace(user_profile=None), USERS, 4, 0.1)
    assert torch.equal(one_sided()[:USERS], one_sided.user)
    plain = Entities(TextVectors(tables.item), USERS, 4, 0.1)
    assert torch.equal(plain()[USERS:], plain.raw(raw)) and not hasattr(plain, "fuse")
    assert plain.offsets().abs().max() == 0 and not [
        n for n, _ in plain.named_parameters() if "text" in n
    ]


def test_training_computes_only_the_items_it_uses_and_each_profile_once():
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(3, 5)).astype(np.float32)
    tables = TextVectors(
        rng.normal(size=(ITEMS, 5)).astype(np.float32),
        kinds[rng.integers(0, 3, USERS)],
        kinds[rng.integers(0, 3, ITEMS)],
    )
    torch.manual_seed(0)
    entities = Entities(tables, USERS, 4, 0.1, np.array([4, 2, 2, 9]))
    assert len(entities.profile_user) == len(entities.profile_item) == 3
    training, whole = entities(), entities.eval()()
    used = [*range(USERS), *(USERS + i for i in (2, 4, 9))]
    assert torch.allclose(training[used], whole[used], atol=1e-6)
    others = np.setdiff1d(np.arange(USERS + ITEMS), used)
    assert not training[others].any() and whole[others].any(1).all()
    few, many = (
        torch.tensor([5]),
        torch.tensor([5, 0, 5, 7, 30]),
    )  # fewer users than different profiles, and more
    for users in (few, many):
        assert torch.allclose(entities.users(users), whole[users], atol=1e-6)
    assert torch.equal(entities.items(), whole[USERS:])


def test_the_loss_of_a_batch_depends_on_its_users_only():
    data = tastes()
    rng = np.random.default_rng(1)
    data = replace(
        data, texts=data.texts._replace(user_profile=rng.normal(size=(USERS, 6)).astype(np.float32))
    )
    torch.manual_seed(0)
    model = registry.find("direct", "bias_mf").Model(data, options("direct", "bias_mf"))
    torch.nn.init.normal_(model.entities.fuse[-1].weight)
    batch = next(iter(model.batches(data, np.random.default_rng(0))))
    start = model.start()
    loss_of_all, loss_of_batch = (
        model.pair_loss(start, model.scored(start), *batch),
        model.loss(*batch),
    )
    assert torch.allclose(loss_of_all, loss_of_batch, atol=1e-6)
    expected, gradients = (
        torch.autograd.grad(value, list(model.parameters()))
        for value in (loss_of_all, loss_of_batch)
    )
    assert all(torch.allclose(w, g, atol=1e-6) for w, g in zip(expected, gradients, strict=True))


def test_cold_start_targets_are_never_drawn_as_negatives():
    data = tastes()
    drawn = Negatives(data).draw(np.repeat(np.arange(USERS), 50), 2, np.random.default_rng(0))
    assert not set(drawn.ravel()) & set(UNSEEN)
    assert set(
        Negatives(replace(data, texts=None))
        .draw(np.arange(USERS), 50, np.random.default_rng(0))
        .ravel()
    ) >= set(UNSEEN)


def test_sets_are_ranked_within_the_catalogue_without_seen_items():
    data = tastes()
    catalogue = np.array([3, 1, 7, 9, 40])
    queries = SetQueries(
        np.array([2, 5]),
        Ragged.from_lists([np.array([1, 0]), np.array([], int)]),
        Ragged.from_lists([np.array([7, 9, 4]), np.array([40])]),
        catalogue,
    )
    torch.manual_seed(0)
    model = registry.find("direct", "bias_mf").Model(data, options("direct", "bias_mf")).eval()
    items, right = top_sets(model, queries, 4, 0)
    model.begin_scoring()
    scores = model.score(torch.tensor([2, 5]), torch.zeros(2, 1, dtype=torch.long)).detach().numpy()
    for row, allowed in enumerate(([3, 7, 9, 40], [3, 1, 7, 9, 40])):
        assert list(items[row]) == sorted(allowed, key=lambda i: -scores[row, i])[:4]
        assert list(right[row]) == [i in queries.targets.row(row) for i in items[row]]


def test_metrics_of_sets():
    hit = np.array([[True, False, True, False], [False, False, False, True]])
    size = np.array([3, 1])
    assert metrics.set_recall(hit, size, 2) == pytest.approx([1 / 3, 0])
    assert metrics.set_recall(hit, size, 4) == pytest.approx([2 / 3, 1])
    ideal = 1 + 1 / np.log2(3)
    assert metrics.set_ndcg(hit, size, 2) == pytest.approx(
        [1 / ideal, 0]
    )  # the best of two places, not of three items
    assert metrics.set_ndcg(hit, size, 4) == pytest.approx([1.5 / (ideal + 0.5), 1 / np.log2(5)])


@pytest.mark.parametrize("profiled", [False, True])
@pytest.mark.parametrize("name", READERS)
def test_new_items_and_new_users_score_like_similar_known_ones(name, profiled):
    """A new item scores like a cold-start item with the same text. A new user gets the items of the
    taste that the history shows.
    """
    data = tastes()
    if profiled:
        rng = np.random.default_rng(2)
        sides = [
            np.where(np.arange(n)[:, None] % 2 == 0, 1.0, -1.0) + rng.normal(0, 0.3, (n, 6))
            for n in (USERS, ITEMS)
        ]
        data = replace(
            data, texts=TextVectors(data.texts.item, *(s.astype(np.float32) for s in sides))
        )
    model = fit(
        registry.find("direct", name).Model,
        data,
        options("direct", name, epochs=60, layers=2),
        3,
        FitContext(save=lambda write: None),
    ).model
    cold = UNSEEN[3]
    items = NewItems(data.texts.item[[cold]], data.texts.item_profile[[cold]] if profiled else None)
    taste = np.array([i for i in range(30) if i % 2 == 0])[:8]
    user = NewUser(taste, data.texts.user_profile[0] if profiled else None)
    larger, extended_data = extend_model(model, data, items, user)
    assert (
        (larger.n_users, larger.n_items)
        == (USERS + 1, ITEMS + 1)
        == (extended_data.n_users, extended_data.n_items)
    )
    with torch.no_grad():
        larger.begin_scoring()
        scores = larger.score(torch.arange(USERS + 1), torch.full((USERS + 1, 1), ITEMS + 1))
    assert torch.allclose(scores[:, cold], scores[:, ITEMS], atol=1e-5)
    queries = SetQueries(
        np.array([USERS]),
        Ragged.from_lists([taste]),
        Ragged.from_lists([np.array([i for i in UNSEEN if i % 2 == 0])]),
        np.array(UNSEEN),
    )
    right = top_sets(larger, queries, 20, 0)[1]
    assert right.mean() > 0.8, "half of the forty items fit the taste, so chance gives 0.5"
    assert len(model.state_dict()["entities.user"]) == USERS, "the original model does not change"
