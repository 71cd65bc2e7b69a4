"""What a report says about the machine and the versions."""

import time

from raypipe.reports import environment


def test_a_run_names_its_commit_machine_versions_and_time(monkeypatch, tmp_path):
    machine = environment.machine({"CPU": 2.0, "memory": 1e9})
    assert machine["cluster"] == {"CPU": 2.0} and machine["cores"] >= 1
    run = environment.run("toy", 3, {"seed": 0}, machine, time.time() - 5)
    assert (run["dataset"], run["seeds"], run["config"]) == ("toy", 3, {"seed": 0})
    assert 5 <= run["seconds"] < 60 and {"python", "torch", "ray"} <= set(run["versions"])
    line = environment.sentence(run)
    assert f"{machine['cores']} cores" in line and f"torch {run['versions']['torch']}" in line
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setenv("RAYPIPE_COMMIT", "0123456789ab")
    assert environment.commit() == "0123456789ab", (
        "outside a checkout, the environment variable gives the commit"
    )


def test_a_machine_without_information_is_no_error():
    assert environment._field("/nowhere", "MemTotal") == ""
    assert environment._field("/proc/meminfo", "NoSuchField") == ""
