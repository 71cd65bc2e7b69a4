"""The package: its dependencies, its extras, what a wheel holds, and the Python face."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from raypipe import extras
from raypipe.cluster import session
from raypipe.errors import ConfigError
from raypipe.llm.config import EngineConfig
from raypipe.llm.engine import check_installed, make
from raypipe.papers import contract

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def normal(name: str) -> str:
    """A distribution's name in the form that pip compares."""
    return re.sub(r"[-_.]+", "-", name).lower()


def bounds(requirements: list[str]) -> dict[str, str]:
    """Distribution -> lower bound of requirements in the form NAME[EXTRA]>=VERSION."""
    found = {}
    for line in requirements:
        name, _, version = re.sub(r"\[.*\]", "", line).partition(">=")
        found[normal(name)] = version
    return found


def pins(file: str) -> dict[str, str]:
    """Distribution -> version of a requirements file."""
    found = {}
    for line in (ROOT / file).read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = re.sub(r"\[.*\]", "", line).partition("==")
            found[normal(name)] = version
    return found


def imported() -> Iterator[tuple[str, str]]:
    """(top-level module, file) of every import in the package that is not its own or Python's."""
    for file in (ROOT / "raypipe").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in {n.partition(".")[0] for n in names}:
                if name not in sys.stdlib_module_names and name != "raypipe":
                    yield name, str(file.relative_to(ROOT))


def test_what_is_imported_is_declared():
    """Every module comes with a dependency, or with an extra that the error messages name."""
    declared = bounds(PROJECT["dependencies"])
    optional = {module for modules in extras.MODULES.values() for module in modules}
    distributions = packages_distributions()
    undeclared = {
        (module, file)
        for module, file in imported()
        if module not in optional
        and not {normal(name) for name in distributions.get(module, [])} & set(declared)
    }
    assert undeclared == set()


def test_each_dependency_is_imported():
    distributions = packages_distributions()
    used: set[str] = set()
    for module, _ in imported():
        used |= {normal(name) for name in distributions.get(module, [])}
    assert set(bounds(PROJECT["dependencies"])) - used <= {"click"}


def test_the_extras_bring_what_the_errors_promise():
    distributions = packages_distributions()
    for extra, modules in extras.MODULES.items():
        declared = set(bounds(EXTRAS[extra])) | set(bounds(PROJECT["dependencies"]))
        for module in modules:
            if extra == "serve" and module in ("uvicorn", "starlette"):
                continue  # of ray[serve]
            names = {normal(name).removesuffix("-cpu") for name in distributions[module]}
            assert names & declared, (extra, module)


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-gpu.txt"])
def test_the_pins_are_within_the_bounds(file):
    def numbers(version: str) -> list[int]:
        return [int(n) for n in re.findall(r"\d+", version)]

    pinned = pins(file)
    requirements = [*PROJECT["dependencies"]]
    for extra in EXTRAS.values():
        requirements += [line for line in extra if not line.startswith("raypipe[")]
    for name, bound in bounds(requirements).items():
        version = pinned.get(name) or pinned.get(f"{name}-cpu")
        if version is None:  # pip chooses it, or the CPU set does without it
            assert file == "requirements-gpu.txt" or name == "flash-attn", name
            continue
        assert numbers(version) >= numbers(bound), name


def test_both_sets_pin_the_same_versions():
    cpu, gpu = pins("requirements.txt"), pins("requirements-gpu.txt")
    assert {n for n in cpu.keys() & gpu.keys() if cpu[n] != gpu[n]} == set()


def hide(monkeypatch, *modules):
    """Let modules look as if they were not installed."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize(
    "module,extra,use",
    [
        ("vllm", "vllm", lambda: make("folder", EngineConfig())),
        ("vllm", "vllm", lambda: check_installed(EngineConfig())),
        ("openai", "endpoint", lambda: extras.need("endpoint", "judge")),
        ("fastapi", "serve", lambda: extras.need("serve", "raypipe serve")),
    ],
)
def test_a_missing_extra_is_named(monkeypatch, module, extra, use):
    hide(monkeypatch, module)
    with pytest.raises(ConfigError) as raised:
        use()
    assert raised.value.what == f"not installed: {module}"
    assert f"pip install 'raypipe[{extra}]'" in raised.value.todo


@pytest.mark.parametrize(
    "paper,module,extra", [("llama4rec", "vllm", "vllm"), ("reclm", "trl", "rl")]
)
def test_a_run_that_lacks_an_extra_ends_before_it_starts(monkeypatch, paper, module, extra):
    hide(monkeypatch, module)
    found = contract.find(paper)
    with pytest.raises(ConfigError, match=rf"raypipe\[{extra}\]"):
        found.plan(found.Config())


def test_serving_without_its_extra_is_refused(monkeypatch):
    hide(monkeypatch, "fastapi")
    for name in [n for n in sys.modules if n.startswith("raypipe.serving")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"raypipe\[serve\]"):
        import raypipe.serving.app  # noqa: F401


def test_workers_find_a_checkout_by_path_and_a_wheel_by_themselves(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    assert session.worker_path() == {"PYTHONPATH": f"{ROOT}:elsewhere"}
    monkeypatch.setattr(session.site, "getsitepackages", lambda: [str(tmp_path)])
    monkeypatch.setattr(session.raypipe, "__file__", str(tmp_path / "raypipe" / "__init__.py"))
    assert session.worker_path() == {}
