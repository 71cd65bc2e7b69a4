"""`raypipe reproduce`: what is planned, narrowed and refused."""

from __future__ import annotations

import pytest

from raypipe.cli.main import main
from raypipe.papers.llama4rec.reproduce import EXPERIMENTS

OTHER = '{"url": "http://127.0.0.1:9/v1", "model": "m"}'
SMALL = ["--dry-run", "--variants", "ift", "--seeds", "1"]


@pytest.fixture
def reproduce(tmp_path, monkeypatch, capsys):
    """Run the command in an empty folder; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()

    def call(*words):
        code = main(["reproduce", *words])
        output = capsys.readouterr()
        return code, output.out, output.err

    yield call
    assert not (tmp_path / "runs").exists()


def test_a_table_is_planned(reproduce):
    code, output, errors = reproduce("table4", *SMALL, "--backbones", "sasrec")
    assert code == 0 and "0 of 27 stages done" in output, output + errors


def test_backbones_that_a_table_does_not_show_are_refused(reproduce):
    code, _, errors = reproduce("table4", "--backbones", "mf")
    assert code == 2 and "choose among sasrec, bert4rec, cl4srec" in errors


def test_two_datasets_share_an_experiment(reproduce):
    code, output, errors = reproduce("table4", *SMALL, "--data", "toy,folder", "--data-dir", ",own")
    assert code == 0 and "table4/toy" in output and "table4/folder" in output, output + errors
    code, _, errors = reproduce("table4", "--data", "toy,folder", "--data-dir", "own")
    assert code == 2 and "1 folders for 2 datasets" in errors
    code, _, errors = reproduce("table4", "--data", "toy,toy")
    assert code == 2 and "named twice" in errors


def test_all_plans_every_experiment(reproduce):
    others = ["--set", f"external_llm={OTHER}", "--set", f"judge={OTHER}"]
    code, output, errors = reproduce("all", *SMALL, *others)
    assert code == 0 and all(name in output for name in EXPERIMENTS), output + errors


def test_all_leaves_out_experiments_that_lack_something(reproduce):
    code, output, _ = reproduce("all", *SMALL, "--backbones", "mf,cl4srec")
    assert code == 0 and "table2" in output and "table4" in output
    assert "table5 is left out (--backbones, --tasks; to show it, choose among deepfm" in output
    assert "figure7 is left out (external_llm; to show it, give an endpoint" in output
