"""How jobs are handed out to workers that train side by side."""

from raypipe.cluster.side_by_side import WAIT, Assignments


def test_a_job_waits_for_those_that_it_needs():
    jobs = Assignments([[], [0], [], [1, 2]])
    assert [jobs.take("a") for _ in range(3)] == [0, 2, WAIT]
    jobs.finish("a", 0)
    assert [jobs.take("a") for _ in range(2)] == [1, WAIT], "3 still waits for two"
    jobs.finish("a", 2)
    assert jobs.take("a") == WAIT
    jobs.finish("a", 1)
    assert [jobs.take("a") for _ in range(2)] == [3, None]


def test_a_group_that_starts_again_gets_every_job_again():
    jobs = Assignments([[], [0]])
    assert jobs.take("first") == 0
    jobs.finish("first", 0)
    assert jobs.take("first") == 1
    assert [jobs.take("second") for _ in range(2)] == [0, WAIT]
