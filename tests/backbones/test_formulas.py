"""Each backbone's formula, against a naive or an independent computation."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from raypipe.backbones import features, losses, registry
from raypipe.seeding import generator
from tests.support.backbone_cases import options


def built(toy, task, name, **overrides):
    data = toy.fit_data(task)
    torch.manual_seed(0)
    return data, registry.find(task, name).Model(data, options(task, name, **overrides)).eval()


def fields_of(model, user, item):
    """[F, d] factors of one pair, scaled up so that they change the result."""
    with torch.no_grad():
        model.table.weight.normal_()
    rows = model.fields.rows(torch.tensor([user]), torch.tensor([item]))[0]
    return model.table.weight[rows, 1:], model.table.weight[rows, 0].sum()


def predicted_rating(model, user, item):
    return model(model.table(model.fields.rows(torch.tensor([user]), torch.tensor([item])))).item()


def test_each_field_has_rows_of_its_own(toy):
    data, model = built(toy, "rating", "deepfm")
    rows = model.fields.rows(torch.tensor([3]), torch.tensor([4]))[0]
    assert (
        len(set(rows.tolist()))
        == len(rows)
        == 2 + data.user_codes.shape[1] + data.item_codes.shape[1]
    )


def test_ridge_starts_at_damped_means_and_pulls_rare_embeddings_more(toy):
    data, model = built(toy, "rating", "afm", ridge=4.0, reg=0.5)
    mean = data.rating.astype(float).mean()
    item = [
        (data.rating[data.item == i] - mean).sum() / ((data.item == i).sum() + 4)
        for i in range(data.n_items)
    ]
    rows_of_user = data.user == 3
    user = sum(
        r - mean - item[i]
        for r, i in zip(data.rating[rows_of_user], data.item[rows_of_user], strict=True)
    ) / (rows_of_user.sum() + 4)
    rows = model.fields.rows(torch.tensor([3]), torch.tensor([4]))
    user_row, item_row = rows[0, 0], rows[0, 1 + data.user_codes.shape[1]]
    assert model.table.weight[user_row, 0].item() == pytest.approx(user, abs=1e-5)
    assert model.table.weight[item_row, 0].item() == pytest.approx(item[4], abs=1e-5)
    expected = 0.0
    for row in rows[0]:
        columns = [*data.user_codes[data.user].T, *data.item_codes[data.item].T]
        times = {int(user_row): rows_of_user.sum(), int(item_row): (data.item == 4).sum()}.get(
            int(row)
        )
        if times is None:  # a side feature: how many training rows share it
            n = [int(r) for r in rows[0] if int(r) not in (int(user_row), int(item_row))].index(
                int(row)
            )
            code = [*data.user_codes[3], *data.item_codes[4]][n]
            times = (columns[n] == code).sum()
        expected += (0.5 + 4 / max(times, 1)) * model.table.weight[row].pow(2).sum().item()
    assert model.penalty(model.table(rows), rows).item() == pytest.approx(expected, rel=1e-4)


def test_deepfm_is_a_sum_over_pairs_and_an_mlp(toy):
    _, model = built(toy, "rating", "deepfm")
    v, w = fields_of(model, 3, 4)
    pairs = sum(v[a] @ v[b] for a in range(len(v)) for b in range(a))
    assert predicted_rating(model, 3, 4) == pytest.approx(
        (model.mean + w + pairs + model.deep(v.flatten())).item(), abs=1e-4
    )


def test_nfm_feeds_the_sum_of_products_to_an_mlp(toy):
    _, model = built(toy, "rating", "nfm")
    v, w = fields_of(model, 3, 4)
    pooled = sum(v[a] * v[b] for a in range(len(v)) for b in range(a))
    assert predicted_rating(model, 3, 4) == pytest.approx(
        (model.mean + w + model.deep(pooled)).item(), abs=1e-4
    )


def test_afm_weighs_the_pairs(toy):
    _, model = built(toy, "rating", "afm")
    v, w = fields_of(model, 3, 4)
    pairs = torch.stack([v[a] * v[b] for a in range(len(v)) for b in range(a + 1, len(v))])
    score = torch.stack([model.weigh(torch.relu(model.attend(p))) for p in pairs])[:, 0]
    share = torch.exp(score - score.max()) / torch.exp(score - score.max()).sum()
    y = sum(s * (p @ model.project) for s, p in zip(share, pairs, strict=True)) * len(pairs)
    assert predicted_rating(model, 3, 4) == pytest.approx(
        (model.mean + w + y).item(), rel=1e-4, abs=1e-4
    )
    with torch.no_grad():
        model.weigh.weight.zero_()
    dense = sum(v[a] @ v[b] for a in range(len(v)) for b in range(a))
    assert predicted_rating(model, 3, 4) == pytest.approx(
        (model.mean + w + dense).item(), rel=1e-4
    ), "with equal attention weights, AFM is the plain sum"


def test_dcn_crosses_with_the_outer_product(toy):
    _, model = built(toy, "rating", "dcn")
    with torch.no_grad():
        model.bias.normal_()
    x = start = torch.randn(model.weight.shape[1])
    out = torch.randn(model.weight.shape[1])
    for w, b in zip(model.weight, model.bias, strict=True):
        x = torch.outer(start, x) @ w + b + x  # eq. 3 as written: x_0 x_l^T w_l + b_l + x_l
    assert model.cross(start[None], out).item() == pytest.approx((x @ out).item(), rel=1e-4)


def test_xdeepfm_compresses_all_products(toy):
    _, model = built(toy, "rating", "xdeepfm", maps=(3, 2))
    v, _ = fields_of(model, 3, 4)
    layer, sums = v, []
    for compress in model.compress:
        weight = compress.weight.view(-1, len(layer), len(v))
        layer = torch.stack(
            [
                sum(
                    weight[h, i, j] * layer[i] * v[j]
                    for i in range(len(layer))
                    for j in range(len(v))
                )
                for h in range(len(weight))
            ]
        )
        sums.append(layer.sum(1))
    assert torch.allclose(model.cin(v[None])[0], torch.cat(sums), atol=1e-3)


def test_autoint_attention_equals_that_of_torch(toy):
    _, model = built(toy, "rating", "autoint", heads=2, attention_size=8)
    layer, x = model.attention[0], torch.randn(2, model.fields.count, 16)
    query, key, value, rest = layer.project.weight.split(8)
    mix = torch.nn.functional.multi_head_attention_forward
    expected, _ = mix(
        (x @ query.T).transpose(0, 1),
        (x @ key.T).transpose(0, 1),
        (x @ value.T).transpose(0, 1),
        8,
        layer.heads,
        torch.cat([torch.eye(8)] * 3),
        None,
        None,
        None,
        False,
        0.0,
        torch.eye(8),
        None,
        training=False,
    )
    output = layer(x.permute(2, 1, 0).contiguous()).permute(2, 1, 0)
    assert torch.allclose(output, torch.relu(expected.transpose(0, 1) + x @ rest.T), atol=1e-5)


def test_bias_mf_adds_the_item_bias(toy):
    _, model = built(toy, "direct", "bias_mf")
    torch.nn.init.normal_(model.bias)
    model.begin_scoring()
    users = torch.tensor([1, 5])
    wanted = model.embedding[users] @ model.embedding[model.n_users :].T + model.bias
    assert torch.allclose(model.score(users, users[:, None]), wanted, atol=1e-5)


def test_ncf_scores_all_items_like_single_items(toy):
    _, model = built(toy, "direct", "ncf")
    for table in (model.user, model.item):
        torch.nn.init.normal_(table.weight)
    users = torch.tensor([1, 5, 7])
    model.begin_scoring()
    every = model.score(users, users[:, None])
    d = model.options.embedding_size
    for row, u in enumerate(users):
        p, q = model.user.weight[u], model.item.weight[4]
        both = torch.cat([p[d:], q[d:]])  # the MLP over the two vectors side by side
        weight = torch.cat([model.first_user.weight, model.first_item.weight], dim=1)
        hidden = model.rest(torch.relu(weight @ both + model.first_user.bias))
        y = model.out(torch.cat([p[:d] * q[:d], hidden]))
        assert every[row, 4].item() == pytest.approx(y.item(), abs=1e-4)


def test_sim_gcl_noise_has_its_length_and_stays_in_the_orthant(toy):
    _, model = built(toy, "direct", "sim_gcl", noise=0.1)
    x = torch.randn(50, 16)
    added = model.add_noise(x) - x
    assert (
        torch.allclose(added.norm(dim=1), torch.full((50,), 0.1), atol=1e-5)
        and ((added * x) >= -1e-6).all()
    )


@pytest.mark.parametrize("view,share", [("edge", 0.4), ("node", 0.64), ("walk", 0.4)])
def test_sgl_views_drop_the_share_of_edges_that_is_set(toy, view, share):
    data, model = built(
        toy, "direct", "sgl", view=view, drop=0.6 if view != "node" else 0.2, layers=2
    )
    next(iter(model.batches(data, generator(0, "x"))))
    first_view, second_view = model._views
    assert all(
        abs(g.values().numel() / (2 * len(data.user)) - share) < 0.12
        for g in (*first_view, *second_view)
    )
    same = first_view[0].values().shape == first_view[1].values().shape and torch.equal(
        first_view[0].to_dense(), first_view[1].to_dense()
    )
    assert same == (view != "walk"), "only walk draws other edges for each layer"
    assert not torch.equal(first_view[0].to_dense(), second_view[0].to_dense())


def test_mix_gcf_takes_the_hardest_mixed_negative(toy, monkeypatch):
    """With a mixing share of zero, the negative of each layer is the drawn item that is nearest to
    the user in that layer.
    """
    _, model = built(toy, "direct", "mix_gcf", layers=1, negatives=3)
    monkeypatch.setattr(torch, "rand", lambda shape, device=None: torch.zeros(shape))
    user, positive, negative = torch.tensor([2]), torch.tensor([1]), torch.tensor([[3, 4, 5]])
    loss = model.loss(user, positive, negative, torch.tensor([False]))
    first, second = model.embedding, model.graph.adjacency.to_dense() @ model.embedding
    taken = [
        layer[
            max((3, 4, 5), key=lambda i: float(layer[2] @ layer[model.n_users + i])) + model.n_users
        ]
        for layer in (first, second)
    ]
    final = (first + second) / 2
    apart = final[2] @ final[model.n_users + 1] - final[2] @ (taken[0] + taken[1]) / 2
    assert loss.item() == pytest.approx(torch.nn.functional.softplus(-apart).item(), abs=1e-5)


def test_info_nce_by_hand():
    left, right = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    # cosine 1 with the other view of a row, 0 with the other row; at temperature 0.5:
    # -2 + log(e^2 + 1)
    expected = -2 + np.log(np.exp(2) + 1)
    assert losses.info_nce(left, right, right, 0.5).item() == pytest.approx(expected, abs=1e-6)
    # within a batch there are two others besides the partner: -2 + log(e^2 + 2)
    assert losses.two_views(left, right, 0.5).item() == pytest.approx(
        -2 + np.log(np.exp(2) + 2), abs=1e-6
    )


def test_the_gradient_of_info_nce_equals_that_of_logsumexp():
    torch.manual_seed(0)
    few = [torch.randn(n, 5, dtype=torch.float64, requires_grad=True) for n in (4, 4, 9)]
    assert torch.autograd.gradcheck(lambda *x: losses.info_nce(*x, 0.1), few)
    many = [
        torch.randn(n, 5, dtype=torch.float64, requires_grad=True) for n in (300, 300, 200)
    ]  # more rows than one piece has
    cosine = F.normalize(many[0], dim=1) @ F.normalize(many[2], dim=1).T
    reference = torch.logsumexp(cosine / 0.1, 1) - F.cosine_similarity(many[0], many[1]) / 0.1
    loss = losses.info_nce(*many, 0.1)
    assert loss.item() == pytest.approx(reference.mean().item())
    for expected, gradient in zip(
        *(torch.autograd.grad(value, many) for value in (reference.mean(), loss)), strict=True
    ):
        torch.testing.assert_close(expected, gradient)
    steep = [losses.info_nce(*few, t).item() for t in (1 / 59, 1 / 61)]
    assert steep[0] == pytest.approx(steep[1] * 59 / 61, rel=0.1), (
        "the loss has no jump where the exponentials would overflow"
    )


def test_pair_sum_is_half_of_square_of_sum_less_sum_of_squares():
    v = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    assert features.pair_sum(v).tolist() == [[1 * 3 + 1 * 5 + 3 * 5, 2 * 4 + 2 * 6 + 4 * 6]]


def test_sequence_windows_cover_every_sequence_once(toy):
    data, model = built(toy, "sequential", "sasrec", context=4)
    pairs = 0
    for (window,) in model.batches(data, generator(0, "x")):
        pairs += int(((window[:, :-1] != data.n_items) & (window[:, 1:] != data.n_items)).sum())
    assert pairs == sum(max(0, n - 1) for n in np.diff(data.sequences.start))


@pytest.mark.parametrize("name", ["sasrec", "cl4srec"])
def test_causal_models_do_not_look_ahead(toy, name):
    _, model = built(toy, "sequential", name)
    items = torch.arange(10)[None]
    changed = items.clone()
    changed[0, -1] = 20
    assert torch.allclose(model(items)[:, :-1], model(changed)[:, :-1], atol=1e-6)
    assert not torch.allclose(model(items)[:, -1], model(changed)[:, -1])


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "cl4srec"])
def test_the_last_state_computed_alone_equals_the_last_of_all_states(toy, name):
    data, model = built(toy, "sequential", name, context=6, heads=2, layers=2)
    torch.nn.init.normal_(model.items.weight)
    history = torch.randint(0, data.n_items, (5, 6))
    history[1, :4] = history[2] = data.n_items  # padded, and empty
    assert torch.allclose(model(history, last=True)[:, 0], model(history)[:, -1], atol=1e-5)


def test_bert4rec_reads_both_directions_and_no_masked_item(toy):
    data, model = built(toy, "sequential", "bert4rec", context=10)
    items = torch.arange(10)[None]
    changed = items.clone()
    changed[0, -1] = 20
    assert not torch.allclose(model(items)[:, 0], model(changed)[:, 0])
    hidden = torch.zeros(1, 10, dtype=torch.bool)
    hidden[0, -1] = True
    seen = []
    model.forward, plain = lambda h, last=False: (seen.append(h), plain(h, last))[1], model.forward
    model.loss(items, hidden)
    assert seen[0][0].tolist() == [*range(9), data.n_items + 1]
    model.last_state(items)
    assert seen[1][0].tolist() == [*range(1, 10), data.n_items + 1]
    for window, masked in model.batches(data, generator(0, "x")):
        assert masked.any(1).all() and not (masked & (window == data.n_items)).any()


def test_cl4srec_views_by_kind(toy):
    data, model = built(toy, "sequential", "cl4srec", crop=0.5, mask=0.5, reorder=0.5)
    padding, mask = data.n_items, data.n_items + 1
    window = np.array([[padding, padding, 0, 1, 2, 3, 4, 5]] * 400)
    kinds = {"crop": 0, "mask": 0, "reorder": 0}
    for row in model.view(window, generator(0, "views")):
        real = row[row != padding]
        if len(real) < 6:
            kinds["crop"] += 1
            assert len(real) == 3 and (np.diff(real) == 1).all() and (row[-3:] == real).all()
        elif mask in real:
            kinds["mask"] += 1
            assert (real == mask).sum() == 3 and all(v in (mask, i) for i, v in enumerate(real))
        else:
            kinds["reorder"] += 1
            moved = np.flatnonzero(real != np.arange(6))
            assert sorted(real) == list(range(6)) and (not len(moved) or moved[-1] - moved[0] < 3)
    assert min(kinds.values()) > 90, kinds


def test_ease_solves_its_ridge_regression(toy):
    """EASE solves the ridge regression of each item on all others: the gradient is zero off the
    diagonal.
    """
    data, model = built(toy, "direct", "ease")
    x = np.zeros((data.n_users, data.n_items))
    x[data.user, data.item] = 1
    b = model.weight.numpy().astype(float)
    gradient = x.T @ (x @ b - x) + model.options.reg * b
    np.fill_diagonal(gradient, 0)
    assert np.abs(gradient).max() < 1e-2 and (np.diag(b) == 0).all()


def test_item_knn_by_a_naive_loop(toy):
    data, model = built(toy, "direct", "item_knn")
    users = [set(data.user[data.item == i]) for i in range(data.n_items)]
    similarity = np.zeros((data.n_items, data.n_items))
    for i in range(data.n_items):
        for j in range(data.n_items):
            if i != j:
                similarity[i, j] = len(users[i] & users[j]) / (
                    (len(users[i]) * len(users[j])) ** 0.5 + model.options.shrink + 1e-9
                )
    model.begin_scoring()
    taken = data.item[data.user == 3]
    scores = model.score(torch.tensor([3]), torch.zeros(1, 1))[0].numpy()
    assert np.allclose(scores, similarity[:, taken].sum(1), atol=1e-4), (
        "with as many neighbours as items, none is left out"
    )


def test_popularity_counts(toy):
    data, model = built(toy, "direct", "popularity")
    scores = model.score(torch.tensor([0, 1]), torch.zeros(2, 1))
    assert (
        scores[0].tolist()
        == scores[1].tolist()
        == [int((data.item == i).sum()) for i in range(data.n_items)]
    )


def test_item_loss_is_the_mean_cross_entropy_and_the_penalty(toy):
    data, model = built(toy, "sequential", "sasrec", reg=0.5)
    state, item = (
        torch.randn(700, 16),
        torch.randint(0, data.n_items, (700,)),
    )  # more rows than a piece has
    table = model.items.weight[: data.n_items]
    cross = torch.nn.functional.cross_entropy(state @ table.T, item)
    expected = cross + 0.5 * model.items.weight.pow(2).sum() / 2 / 700
    loss = model.item_loss(state, item)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    gradient = torch.autograd.grad(expected, model.items.weight, retain_graph=True)[0]
    assert torch.allclose(torch.autograd.grad(loss, model.items.weight)[0], gradient, atol=1e-6)


def test_sampled_item_loss_by_hand_and_near_the_full_one(toy, monkeypatch):
    data, model = built(toy, "sequential", "sasrec", negatives=100)
    torch.nn.init.normal_(model.items.weight, std=0.2)
    state, item = torch.randn(300, 16), torch.randint(0, data.n_items, (300,))
    scores = state @ model.items.weight[: data.n_items].T
    torch.manual_seed(1)
    drawn = np.mean([model.item_loss(state, item).item() for _ in range(200)])
    assert drawn == pytest.approx(torch.nn.functional.cross_entropy(scores, item).item(), abs=0.02)
    model.options = model.options.model_copy(update={"negatives": 3})
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor([4, 7, 7]))
    weight = (data.n_items - 1) / 3
    for target, terms in (
        (2, (4, 7, 7)),
        (7, (4,)),
    ):  # a drawn item that is the target does not count against itself
        others = sum(weight * np.exp(scores[0, i].item()) for i in terms)
        wanted = np.log(np.exp(scores[0, target].item()) + others) - scores[0, target].item()
        assert model.item_loss(state[:1], torch.tensor([target])).item() == pytest.approx(
            wanted, abs=1e-5
        )
