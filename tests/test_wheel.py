"""The wheel, installed in a fresh environment that has its declared dependencies and nothing else.

So there is no vLLM, no TRL and no repository: README's Python snippet runs as printed.
"""

import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from raypipe.config import validate
from raypipe.data.sources import toy
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
#: what the wheel is built from
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "raypipe")


def run(*command, cwd, **variables):
    """Run a command outside the repository; returns what it printed."""
    hidden = ("PYTHONPATH", "RAY_ENABLE_AUTO_CONNECT", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**kept, "RAY_ADDRESS": "local", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def requirements(name, extras=("",)):
    """The requirements of an installed distribution that hold on this machine."""
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            yield requirement


def closure(asked):
    """The distributions that pip would install for some requirements, themselves included."""
    found = {}
    waiting = list(asked)
    while waiting:
        requirement = waiting.pop()
        extras = frozenset(requirement.extras) | {""}
        if extras <= found.get(requirement.name, frozenset()):
            continue
        found[requirement.name] = found.get(requirement.name, frozenset()) | extras
        try:
            waiting += requirements(requirement.name, found[requirement.name])
        except PackageNotFoundError:
            continue  # a build for CUDA, which the set for CPUs does without
    return set(found)


def link(name, folder):
    """Let a folder hold what a distribution has put into site-packages."""
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        return
    for top in {file.parts[0] for file in installed.files or () if file.parts[0] != ".."}:
        target = folder / top
        if not target.is_symlink():
            target.symlink_to(Path(installed.locate_file(top)))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    names = [name for name in SOURCES if (ROOT / name).exists()]
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in names), str(source)], check=True)
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source)
    run(sys.executable, *build, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The interpreter of an environment with the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    interpreter = folder / "bin" / "python"
    pip = ("-m", "pip", "--python", interpreter, "install", "--quiet", "--no-deps", "--no-index")
    run(sys.executable, *pip, wheel, cwd=folder)
    dependencies = folder / "dependencies"
    dependencies.mkdir()
    with zipfile.ZipFile(wheel) as opened:
        (metadata,) = (n for n in opened.namelist() if n.endswith("/METADATA"))
        lines = opened.read(metadata).decode().splitlines()
    asked = [Requirement(line[15:]) for line in lines if line.startswith("Requires-Dist: ")]
    for name in closure(r for r in asked if not r.marker or r.marker.evaluate({"extra": ""})):
        link(name, dependencies)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{dependencies}\n")
    return interpreter


def test_the_wheel_holds_every_file_that_the_package_reads(wheel):
    tracked = [
        str(file.relative_to(ROOT))
        for file in (ROOT / "raypipe").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    ]
    with zipfile.ZipFile(wheel) as opened:
        assert set(tracked) <= set(opened.namelist())


def test_the_package_lies_outside_the_repository_and_lacks_vllm(python, tmp_path):
    code = """
import importlib.util, pathlib, raypipe
from raypipe.papers.llama4rec.sweep import SPACES
print(pathlib.Path(raypipe.__file__).parts[-3], len(list(SPACES.glob("*.yaml"))) > 10)
print([importlib.util.find_spec(name) for name in ("vllm", "trl", "openai", "fastapi")])
try:
    raypipe.run("llama4rec", preset="toy")
except raypipe.errors.ConfigError as error:
    print(error)
"""
    site, modules, *message = run(python, "-c", code, cwd=tmp_path).splitlines()
    assert site == "site-packages True"
    assert modules == "[None, None, None, None]"
    assert "not installed: vllm" in message[0] and "raypipe[vllm]" in message[-1]


def test_the_snippet_of_the_readme_runs_as_printed(python, tmp_path):
    """A run from frames to recommendations, in an empty folder, with the transformers engine."""
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(snippet.splitlines()) <= 10
    options = validate(toy.Options, {"users": 40, "items": 60, "mean_length": 8}, "this test")
    raw = toy.read(None, options)
    raw.interactions.to_pandas().to_csv(tmp_path / "interactions.csv", index=False)
    raw.items.to_pandas().to_csv(tmp_path / "items.csv", index=False)
    (tmp_path / "snippet.py").write_text(snippet)
    printed = run(python, "snippet.py", cwd=tmp_path).splitlines()
    titles = set(raw.items["title"].to_pylist())
    lines = [line.split(maxsplit=1) for line in printed[-5:]]
    assert [rank for rank, _ in lines] == ["1", "2", "3", "4", "5"]
    assert {title for _, title in lines} <= titles
    assert (tmp_path / "runs/films/report.html").is_file()
