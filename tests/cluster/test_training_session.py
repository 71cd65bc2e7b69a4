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
    # what an interruption in the middle of a checkpoint leaves
    assert (tmp_path / "scratch" / "checkpoint_000003").is_dir()
    again = training_session.LocalSession(str(tmp_path / "scratch"), tmp_path, 0.0)
    assert not (tmp_path / "scratch" / "checkpoint_000003").exists()
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


def _training_together(rank, folder):
    """One of two workers of a training: a checkpoint, a start from it, and the result."""
    import ray.train.torch
    import torch

    from raypipe.cluster import training_session

    class Session(training_session.Session):
        def _join(self):
            self.rank, self.world = rank, 2

    ray.train.torch.get_device = lambda: torch.device("cpu")
    first = Session(folder, 0.0)

    def part(folder):
        (folder / "parts").mkdir()  # each worker finds an empty folder
        (folder / "parts" / str(rank)).write_text("")

    first.save(part, step=5)
    if rank == 0:
        Path(folder, "checkpoint_000001").mkdir()  # an interrupted one
    again = Session(folder, 0.0)
    with again.resume() as checkpoint:
        parts = sorted(file.name for file in (checkpoint / "parts").iterdir())
    again.finish(lambda to: (to / "model").write_text(f"of worker {rank}"))
    folders = sorted(file.name for file in Path(folder).iterdir())
    return parts, folders, Session(folder, 0.0).is_finished


def test_workers_write_one_checkpoint_and_one_result_together(tmp_path):
    results = of_two(_training_together, str(tmp_path))
    assert [parts for parts, _, _ in results] == [["0", "1"]] * 2
    assert results[0][1] == ["final", "latest"] or results[1][1] == ["final", "latest"]
    assert all(is_finished for _, _, is_finished in results)
    assert (tmp_path / "final" / "model").read_text() == "of worker 0"


def test_checkpoints_in_a_store_that_is_no_local_folder(tmp_path, monkeypatch):
    from pyarrow import fs

    from raypipe.cluster import training_session

    remote = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(training_session, "resolve", lambda uri: (remote, uri))
    checkpoints = training_session.CheckpointFolder("run/scratch")
    assert checkpoints.latest() is None
    for number in range(2):
        checkpoints.write(f"c{number}", lambda to, n=number: (to / "n").write_text(f"{n}"))
        checkpoints.publish(f"c{number}")
    with checkpoints.reading("c1") as folder:
        assert (folder / "n").read_text() == "1"
    kept = sorted(file.name for file in (tmp_path / "run" / "scratch").iterdir())
    assert kept == ["c1", "latest"] == [checkpoints.latest(), "latest"]
