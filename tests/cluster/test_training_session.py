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


WEIGHTS = bytes(range(256)) * 999


def _training_together(rank, folder):
    """One of two workers: a checkpoint, a start from it, the result, and a folder that both get."""
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
    local = Path(f"{folder}-{rank}")  # a folder of this worker
    if rank == 0:
        (local / "policy").mkdir(parents=True)
        (local / "policy" / "weights").write_bytes(WEIGHTS)
        (local / "policy" / "empty").write_bytes(b"")
    again.broadcast_folder(local)
    files = [file for file in local.rglob("*") if file.is_file()]
    received = {str(file.relative_to(local)): file.read_bytes() for file in files}
    return parts, folders, Session(folder, 0.0).is_finished, received


def test_workers_write_one_checkpoint_and_one_result_together(tmp_path):
    scratch = tmp_path / "scratch"
    results = of_two(_training_together, str(scratch))
    for parts, _, is_finished, received in results:
        assert parts == ["0", "1"] and is_finished
        assert received == {"policy/weights": WEIGHTS, "policy/empty": b""}, "what worker 0 wrote"
    assert ["final", "latest"] in [folders for _, folders, _, _ in results]
    assert (scratch / "final" / "model").read_text() == "of worker 0"


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
