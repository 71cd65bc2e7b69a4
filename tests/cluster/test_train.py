"""Trainings one after the other on the same real Ray Train workers."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from raypipe.cluster import train
from raypipe.cluster.worker_group import Workers

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]
ONE, TWO = Workers(1, 1, False), Workers(2, 1, False)


def _count(worker, settings):
    """Count steps; the first start of worker 1 is killed after a checkpoint."""
    with worker.resume() as checkpoint:
        done = int((checkpoint / "steps").read_text()) if checkpoint else 0
    starts = Path(settings["notes"], f"start-{worker.rank}-{os.getpid()}")
    starts.write_text(str(done))
    for step in range(done + 1, settings["steps"] + 1):
        if step == settings["fault"]:
            raise ValueError("a fault of the loop")
        worker.save(lambda folder, n=step: (folder / "steps").write_text(str(n)), step * 5)
        if step == settings["killed"] and not done and worker.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    worker.finish(lambda folder: (folder / "result").write_text(f"{settings['steps']} steps"))


def run(folder, workers=TWO, steps=3, killed=0, fault=0):
    """The result of a training, and what each process noted: worker -> {process: steps before}."""
    notes = folder / "notes"
    notes.mkdir(parents=True)
    settings = {"notes": str(notes), "steps": steps, "killed": killed, "fault": fault}
    with train.run(_count, settings, str(folder / "scratch" / "llm-1"), workers, 0.0) as result:
        answer = (result / "result").read_text()
    starts = {0: {}, 1: {}}
    for file in notes.iterdir():
        _, rank, process = file.name.split("-")
        starts[int(rank)][process] = int(file.read_text())
    return answer, starts


def test_the_next_training_runs_in_the_same_processes(tmp_path):
    first, processes = run(tmp_path / "first")
    second, same = run(tmp_path / "second", steps=4)
    assert (first, second) == ("3 steps", "4 steps")
    assert processes == same and {len(own) for own in processes.values()} == {1}


def test_a_killed_worker_is_replaced_and_the_training_goes_on_from_its_checkpoint(tmp_path):
    answer, starts = run(tmp_path, killed=2)
    assert answer == "3 steps"
    assert [sorted(own.values()) for own in starts.values()] == [[0, 2], [0, 2]]


def test_a_training_that_always_fails_ends_with_its_error_and_another_can_follow(tmp_path):
    with pytest.raises(RuntimeError, match=r"failed 3 times.*a fault of the loop"):
        run(tmp_path / "bad", ONE, fault=2)
    assert run(tmp_path / "good", ONE)[0] == "3 steps"


def test_a_finished_training_is_read_and_not_run_again(tmp_path):
    run(tmp_path)
    for file in (tmp_path / "notes").iterdir():
        file.unlink()
    (tmp_path / "notes").rmdir()
    assert run(tmp_path, fault=1) == ("3 steps", {0: {}, 1: {}})


def test_on_a_cluster_the_workers_end_with_their_training(tmp_path, monkeypatch):
    train.end_groups()
    monkeypatch.setattr(train, "may_stay", lambda: False)
    _, starts = run(tmp_path, ONE)
    (process,) = starts[0]
    psutil.wait_procs([psutil.Process(int(process))] if psutil.pid_exists(int(process)) else [], 10)
    assert not psutil.pid_exists(int(process))
    assert not list((tmp_path / "scratch").glob(f"{train.STORAGE}*"))
