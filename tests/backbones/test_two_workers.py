"""Two workers train a backbone like one."""

import threading

import numpy as np
import pytest
import torch

from raypipe.backbones import adam, registry
from raypipe.backbones.fit import FitContext, Worker, fit
from tests.support.backbone_cases import checkerboard, options
from tests.support.processes import of_two

CASES = [("direct", "light_gcn"), ("direct", "mf"), ("sequential", "sasrec"), ("rating", "deepfm")]


def curves(task, name, worker=None):
    """Loss and validation value of each epoch."""
    lazy_from = adam.LAZY_FROM
    adam.LAZY_FROM = 0 if name == "mf" else lazy_from
    chosen = options(task, name, epochs=12, patience=12, dropout=0.0)
    context = FitContext(worker=worker) if worker else FitContext()
    result = fit(registry.find(task, name).Model, checkerboard(task), chosen, 0, context)
    adam.LAZY_FROM = lazy_from
    return [line["loss"] for line in result.curve], [line["validation"] for line in result.curve]


def _two_workers(rank):
    """One of two processes that fit the same models, one after another."""
    import torch.distributed as dist

    worker = Worker(rank, 2, torch.device("cpu"), dist.all_reduce)
    return {name: curves(task, name, worker) for task, name in CASES}


@pytest.fixture(scope="module")
def by_two():
    """The curves of each of two processes, which start once for all backbones."""
    return of_two(_two_workers)


@pytest.mark.parametrize("task,name", CASES)
def test_two_workers_train_like_one(task, name, by_two):
    alone_loss, alone_validation = curves(task, name)
    first, second = (curves_of_worker[name] for curves_of_worker in by_two)
    assert first == second, "both workers report the same loss and validation value"
    loss, validation = first
    # SASRec averages over the positions of a worker's rows, which differ a little from those of the
    # batch
    loose = name == "sasrec"
    assert np.allclose(loss, alone_loss, rtol=0.05 if loose else 1e-4)
    assert np.allclose(validation, alone_validation, atol=0.15 if loose else 1e-3)


def test_workers_average_dense_and_sparse_gradients():
    """Two threads stand for workers; their `add` waits at a barrier. The result is the mean of both
    gradients, row by row.
    """
    models = [
        torch.nn.ModuleList([torch.nn.Embedding(5, 2, sparse=True), torch.nn.Linear(2, 1)])
        for _ in range(2)
    ]
    models[1].load_state_dict(models[0].state_dict())
    rows = [torch.tensor([0, 1, 1]), torch.tensor([1, 4])]
    for (table, line), worker_rows in zip(models, rows, strict=True):
        line(table(worker_rows)).pow(2).sum().backward()
    expected = [
        (first.grad.to_dense() + second.grad.to_dense()) / 2
        for first, second in zip(models[0].parameters(), models[1].parameters(), strict=True)
    ]
    meet, sent = threading.Barrier(2), {}

    def work(rank):
        def add(tensor):
            sent[rank] = tensor.clone()
            meet.wait()
            tensor.copy_(sent[0] + sent[1])
            meet.wait()

        adam.average(models[rank], rank, 2, add)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    for model in models:
        for p, mean in zip(model.parameters(), expected, strict=True):
            assert torch.allclose(p.grad.to_dense(), mean, atol=1e-6)
        assert model[0].weight.grad.is_sparse
