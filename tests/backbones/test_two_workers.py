"""Two workers train a backbone as one does."""

import threading

import numpy as np
import pytest
import torch

from raypipe.backbones import adam, registry
from raypipe.backbones.fit import FitContext, Worker, fit
from tests.support.backbone_cases import checkerboard, options
from tests.support.processes import of_two


def _two_workers(rank, task, name):
    """One of two processes that fit the same model."""
    import torch.distributed as dist

    adam.LAZY_FROM = 0 if name == "mf" else adam.LAZY_FROM
    data = checkerboard(task)
    chosen = options(task, name, epochs=12, patience=12, dropout=0.0)
    worker = Worker(rank, 2, torch.device("cpu"), dist.all_reduce)
    found = fit(registry.find(task, name).Model, data, chosen, 0, FitContext(worker=worker))
    return [line["loss"] for line in found.curve], [line["validation"] for line in found.curve]


@pytest.mark.parametrize(
    "task,name",
    [("direct", "light_gcn"), ("direct", "mf"), ("sequential", "sasrec"), ("rating", "deepfm")],
)
def test_two_workers_give_what_one_gives(task, name, monkeypatch):
    monkeypatch.setattr(adam, "LAZY_FROM", 0 if name == "mf" else adam.LAZY_FROM)
    data = checkerboard(task)
    alone = fit(
        registry.find(task, name).Model,
        data,
        options(task, name, epochs=12, patience=12, dropout=0.0),
        0,
    )
    got = of_two(_two_workers, task, name)
    assert got[0] == got[1], "both know the same loss and the same validation value"
    # SASRec averages over the positions of a worker's rows, which differ a little from those of the batch
    assert np.allclose(
        got[0][0], [line["loss"] for line in alone.curve], rtol=0.05 if name == "sasrec" else 1e-4
    )
    assert np.allclose(
        got[0][1],
        [line["validation"] for line in alone.curve],
        atol=0.15 if name == "sasrec" else 1e-3,
    )


def test_workers_average_dense_and_sparse_gradients():
    """Two workers as threads, whose `add` meets at a barrier; the mean is that of both gradients, row by row."""
    models = [
        torch.nn.ModuleList([torch.nn.Embedding(5, 2, sparse=True), torch.nn.Linear(2, 1)])
        for _ in range(2)
    ]
    models[1].load_state_dict(models[0].state_dict())
    rows = [torch.tensor([0, 1, 1]), torch.tensor([1, 4])]
    for (table, line), own in zip(models, rows, strict=True):
        line(table(own)).pow(2).sum().backward()
    wanted = [
        (one.grad.to_dense() + two.grad.to_dense()) / 2
        for one, two in zip(models[0].parameters(), models[1].parameters(), strict=True)
    ]
    meet, given = threading.Barrier(2), {}

    def work(rank):
        def add(tensor):
            given[rank] = tensor.clone()
            meet.wait()
            tensor.copy_(given[0] + given[1])
            meet.wait()

        adam.average(models[rank], rank, 2, add)

    crew = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join(timeout=30)
    for model in models:
        for p, mean in zip(model.parameters(), wanted, strict=True):
            assert torch.allclose(p.grad.to_dense(), mean, atol=1e-6)
        assert model[0].weight.grad.is_sparse
