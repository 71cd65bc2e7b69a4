"""Which workers perform a training: those of a waiting group, or new ones.

The groups are stand-ins; tests/cluster/test_train.py has real ones.
"""

import pytest

from raypipe.cluster import resident, train
from raypipe.cluster.worker_group import Workers

TWO = Workers(2, 1, False)


@pytest.fixture
def groups(monkeypatch):
    """The groups that were started, in order."""
    groups = []

    class Group:
        """Performs a training as one worker; one that `is_lost` has ended in the meantime."""

        def __init__(self, workers, storage, stays):
            self.workers, self.storage, self.stays = workers, storage, stays
            self.is_lost = self.is_closed = False
            groups.append(self)

        def perform(self, body):
            if not self.is_lost:
                body()
            return not self.is_lost

        def close(self):
            self.is_closed = True

    monkeypatch.setattr(train, "WorkerGroup", Group)
    monkeypatch.setattr(train, "_groups", [])
    node = {"Alive": True, "Resources": {"CPU": 4.0}}
    monkeypatch.setattr(resident.ray, "nodes", lambda: [node])
    monkeypatch.setattr(train.session, "gpus", lambda: 0)
    return groups


def nothing():
    pass


def test_a_waiting_group_with_the_same_workers_performs_the_next_training(groups, tmp_path):
    for workers in (TWO, TWO, Workers(1, 1, False), Workers(2, 2, False), TWO):
        train.on_workers(nothing, workers, str(tmp_path))
    assert [group.workers for group in groups] == [
        TWO,
        Workers(1, 1, False),
        Workers(2, 2, False),
    ]
    train.end_groups()
    assert all(group.is_closed for group in groups)


def test_more_workers_may_help_with_independent_jobs(groups, tmp_path):
    train.on_workers(nothing, TWO, str(tmp_path))
    train.on_workers(nothing, Workers(1, 1, False), str(tmp_path), more_may_help=True)
    assert len(groups) == 1
    train.on_workers(nothing, Workers(3, 1, False), str(tmp_path), more_may_help=True)
    assert [group.workers.number for group in groups] == [2, 3]


def test_a_group_that_has_ended_is_replaced(groups, tmp_path):
    performed = []
    train.on_workers(nothing, TWO, str(tmp_path))
    groups[0].is_lost = True
    train.on_workers(lambda: performed.append(len(groups)), TWO, str(tmp_path))
    assert performed == [2] and groups[0].is_closed and not groups[1].is_closed


@pytest.mark.parametrize("nodes,gpus", [(2, 0), (1, 1)])
def test_workers_do_not_wait_where_others_need_their_place(
    nodes, gpus, groups, tmp_path, monkeypatch
):
    node = {"Alive": True, "Resources": {"CPU": 4.0}}
    monkeypatch.setattr(resident.ray, "nodes", lambda: [node] * nodes)
    monkeypatch.setattr(train.session, "gpus", lambda: gpus)

    def fail():
        raise ValueError("a fault of the loop")

    with pytest.raises(ValueError, match="a fault"):
        train.on_workers(fail, TWO, str(tmp_path))
    assert groups[0].is_closed and not groups[0].stays
    train.on_workers(nothing, TWO, str(tmp_path))
    assert len(groups) == 2


def test_folders_of_ended_groups_are_removed_and_others_stay(groups, tmp_path):
    leftover = tmp_path / f"{train.STORAGE}killed"
    for folder in (leftover, tmp_path / "llm-1"):
        folder.mkdir()
    train.on_workers(nothing, TWO, str(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["llm-1"]
    own = tmp_path / groups[0].storage.rpartition("/")[2]
    own.mkdir()
    train.on_workers(nothing, Workers(1, 1, False), str(tmp_path))
    assert own.is_dir(), "its group waits"
    train.end_groups()
    assert not own.exists()
