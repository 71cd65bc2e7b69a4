"""The job that reproduces the paper's tables and figures."""

import subprocess
import sys

from raypipe.papers.llama4rec.reproduce import EXPERIMENTS
from tests.support.paths import ROOT


def test_the_job_plans_narrows_and_refuses(tmp_path):
    def job(*arguments):
        command = [sys.executable, str(ROOT / "jobs" / "experiment.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    done = job("table4", "--dry-run", "--backbones", "sasrec", "--variants", "ift", "--seeds", "1")
    assert done.returncode == 0 and "0 of 27 stages done" in done.stdout, done.stdout + done.stderr
    assert not (tmp_path / "runs").exists()
    refused = job("table4", "--backbones", "mf")
    assert refused.returncode == 2 and "choose among sasrec, bert4rec, cl4srec" in refused.stderr
    (tmp_path / "own").mkdir()
    both = job(
        "table4",
        "--dry-run",
        "--data",
        "toy,folder",
        "--data-dir",
        ",own",
        "--variants",
        "ift",
        "--seeds",
        "1",
    )
    assert (
        both.returncode == 0 and "table4/toy" in both.stdout and "table4/folder" in both.stdout
    ), both.stdout + both.stderr
    other = '{"url": "http://127.0.0.1:9/v1", "model": "m"}'
    every = job(
        "all",
        "--dry-run",
        "--variants",
        "ift",
        "--seeds",
        "1",
        "--set",
        f"rival={other}",
        "--set",
        f"judge={other}",
    )
    assert every.returncode == 0 and all(name in every.stdout for name in EXPERIMENTS), (
        every.stdout + every.stderr
    )
    some = job("all", "--dry-run", "--backbones", "mf,cl4srec", "--seeds", "1")
    assert some.returncode == 0 and "table2" in some.stdout and "table4" in some.stdout, (
        some.stdout + some.stderr
    )
    assert (
        "table5 is left out (--backbones, --tasks; to show it, choose among deepfm" in some.stdout
    )
    assert "figure7 is left out (rival; to show it, give an endpoint" in some.stdout
    refused = job("table4", "--data", "toy,folder", "--data-dir", "own")
    assert refused.returncode == 2 and "1 folders for 2 datasets" in refused.stderr
