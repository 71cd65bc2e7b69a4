"""A stage runs again when the code that it depends on changes, however deep, and only then."""

import ast
import importlib
import subprocess
import sys
import textwrap
from functools import partial

import pytest

from raypipe.papers.llama4rec import backbones, prompts
from raypipe.pipeline.code_version import closure, code_version
from tests.support.paths import PACKAGE


def test_the_closure_holds_what_the_body_imports_however_deep():
    modules = closure("raypipe.papers.llama4rec.prompts")
    deep = (
        "raypipe.seeding",
        "raypipe.prompts.contract",
        "raypipe.data.sources.toy",
        "raypipe.errors",
    )
    assert {"raypipe.papers.llama4rec.prompts", *deep} <= set(modules)
    outside = (
        "raypipe.papers.llama4rec.report.publish",
        "raypipe.papers.reclm.llm",
        "raypipe.tuning.sft",
    )
    assert not set(outside) & set(modules)
    assert "raypipe.backbones.direct.light_gcn" in closure("raypipe.papers.llama4rec.backbones")


def test_a_partial_has_the_version_of_its_function():
    body = partial(partial(backbones.fit_backbone, name="mf"), seed=1)
    assert (
        code_version(body)
        == code_version(backbones.fit_backbone)
        != code_version(prompts.rerank_prompts)
    )


@pytest.mark.parametrize(
    "changed,runs_again",
    [("seeding.py", True), ("prompts/templates/pair.py", True), ("papers/reclm/llm.py", False)],
)
def test_a_change_deep_in_the_closure_runs_a_stage_again(tmp_path, changed, runs_again):
    """On a copy of the package, in fresh processes, as it happens between two runs."""
    (tmp_path / "code").mkdir()
    subprocess.run(["cp", "-r", str(PACKAGE), str(tmp_path / "code" / "raypipe")], check=True)
    script = """
        from functools import partial
        from raypipe.papers.llama4rec.rendering import render
        from raypipe.pipeline.runner import Runner
        from raypipe.pipeline.stage import Stage
        from raypipe.pipeline.store import Store
        from raypipe.papers.llama4rec import augmentation
        body = augmentation.augmentation
        stage = Stage("s", body, config=1)
        runner = Runner([stage], Store("run"), say=lambda line: None)
        if not runner.plan()[0].cached:
            with runner.store.writing("s", runner.keys["s"], {"facts": {}, "seconds": 0.0}) as out:
                (out / "made").touch()
            print("ran")
        else:
            print("cached")
    """

    def run():
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path / "code"), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert run() == "ran" and run() == "cached"
    file = tmp_path / "code" / "raypipe" / changed
    file.write_text(file.read_text() + "\nCHANGED = True\n")
    assert run() == ("ran" if runs_again else "cached")


def test_plug_ins_alone_are_imported_by_name():
    """What is imported by a computed name cannot be seen in the closure; plug-in folders are."""
    users = [
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if any(
            isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module")
            for node in ast.walk(ast.parse(file.read_text()))
        )
    ]
    # commands are loaded when they are called; no stage imports the command line
    assert set(users) == {"plugins.py", "pipeline/code_version.py", "cli/main.py"}
    assert importlib.import_module("raypipe.plugins")
