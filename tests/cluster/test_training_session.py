"""Checkpoints of workers, and what they share."""

from pathlib import Path

import pytest

from tests.support.processes import of_two


def test_a_checkpoint_counts_once_it_is_whole(tmp_path, monkeypatch):
    from raypipe.cluster import training_session

    monkeypatch.setattr(training_session.ray.train.torch, "get_device", lambda: "cpu")
    work = training_session.LocalSession(str(tmp_path / "scratch"), tmp_path, 0.0)
    with work.resume() as folder:
        assert folder is None
    for n in range(3):
        work.save(lambda folder, n=n: (folder / "n").write_text(str(n)))
    kept = sorted(p.name for p in (tmp_path / "scratch").iterdir())
    assert kept == ["checkpoint_000002", "latest"], "one is kept"
    with pytest.raises(OSError, match="disk"):

        def broken(folder):
            raise OSError("disk")

        work.save(broken)
    (
        tmp_path / "scratch" / "checkpoint_000003"
    ).mkdir()  # what a kill in the middle of a copy leaves
    again = training_session.LocalSession(str(tmp_path / "scratch"), tmp_path, 0.0)
    with again.resume() as folder:
        assert (folder / "n").read_text() == "2"
    again.save(lambda folder: (folder / "n").write_text("3"))
    with again.resume() as folder:
        assert (folder / "n").read_text() == "3"


def _sharing(rank, folder):
    """One of two processes, each with a folder of its own."""
    import torch

    from raypipe.cluster import training_session

    work = object.__new__(
        training_session.Session
    )  # without Ray, whose part is to tell the next three
    work.rank, work.world, work.device = rank, 2, torch.device("cpu")
    own = Path(folder, str(rank))
    if rank == 0:
        (own / "policy").mkdir(parents=True)
        (own / "policy" / "weights").write_bytes(bytes(range(256)) * 999)
        (own / "policy" / "empty").write_bytes(b"")
    work.broadcast_folder(own)
    return {str(p.relative_to(own)): p.read_bytes() for p in own.rglob("*") if p.is_file()}


def test_every_worker_gets_what_worker_0_wrote(tmp_path):
    got = of_two(_sharing, str(tmp_path))
    assert got[0] == got[1] == {"policy/weights": bytes(range(256)) * 999, "policy/empty": b""}
