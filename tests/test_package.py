"""The package: its dependencies, its extras, what a wheel holds, and the Python face."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import raypipe
from raypipe import extras
from raypipe.cluster import session
from raypipe.data.config import DataConfig, SourceConfig
from raypipe.data.dataset import read, source_options
from raypipe.data.sources import folder
from raypipe.errors import ConfigError, DataError
from raypipe.llm.config import EngineConfig
from raypipe.llm.engine import check_installed, make_engine
from raypipe.papers import contract, face
from raypipe.papers.llama4rec.sweep import SPACES
from raypipe.pipeline.store import Store

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def normal(name: str) -> str:
    """A distribution's name in the form that pip compares."""
    return re.sub(r"[-_.]+", "-", name).lower()


def bounds(requirements: list[str]) -> dict[str, str]:
    """Distribution -> lower bound of requirements in the form NAME[EXTRA]>=VERSION."""
    versions = {}
    for line in requirements:
        name, _, version = re.sub(r"\[.*\]", "", line).partition(">=")
        versions[normal(name)] = version
    return versions


def pins(file: str) -> dict[str, str]:
    """Distribution -> version of a requirements file."""
    versions = {}
    for line in (ROOT / file).read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = re.sub(r"\[.*\]", "", line).partition("==")
            versions[normal(name)] = version
    return versions


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


def test_each_extra_installs_what_its_error_message_names():
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
    """Make modules look as if they were not installed."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize(
    "module,extra,use",
    [
        ("vllm", "vllm", lambda: make_engine("folder", EngineConfig())),
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
    chosen = contract.find(paper)
    with pytest.raises(ConfigError, match=rf"raypipe\[{extra}\]"):
        chosen.plan(chosen.Config())


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


def test_the_search_spaces_are_in_the_package_and_in_the_repository_root():
    assert (ROOT / "tune_configs").is_symlink()
    assert (ROOT / "tune_configs" / "backbones").samefile(SPACES)


def test_import_raypipe_imports_nothing_else():
    code = "import sys, raypipe; print({m.partition('.')[0] for m in sys.modules} & {heavy})"
    heavy = "{'numpy', 'pandas', 'pydantic', 'yaml', 'pyarrow', 'ray', 'torch'}"
    command = [sys.executable, "-c", code.replace("{heavy}", heavy)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"
    assert set(raypipe.__all__) <= set(dir(raypipe))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = raypipe.nothing


def test_settings_are_sections_or_dotted_keys():
    config = raypipe.load_config(
        "llama4rec",
        preset="toy",
        seeds=2,
        llm={"engine": {"name": "transformers"}},
        backbones={"sequential": ["sasrec"]},
        **{"llm.tune.epochs": 1},
    )
    assert (config.seeds, config.llm.engine.name, config.llm.tune.epochs) == (2, "transformers", 1)
    assert config.llm.embedded.epochs == 12  # of the preset
    assert config.backbones == {"sequential": ("sasrec",)}


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: raypipe.load_config("llama5rec"), "did you mean llama4rec"),
        (lambda: raypipe.load_config("llama4rec", "toys"), "there is no preset 'toys'"),
        (lambda: raypipe.load_config("llama4rec", sedes=3), "sedes"),
        (lambda: raypipe.run(raypipe.load_config("llama4rec"), seeds=3), "load_config"),
        (lambda: raypipe.run(DataConfig()), "is the configuration of no paper"),
    ],
)
def test_a_wrong_call_gets_advice(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


INTERACTIONS = pd.DataFrame(
    {
        "user_id": [7, 7, 7, 8],
        "item_id": ["a", "b", "a", "c"],
        "rating": [1, 2, 3, 4],
        "timestamp": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"]),
    }
)
ITEMS = pd.DataFrame(
    {
        "item_id": ["a", "b", "c"],
        "title": ['The "A", part 1', "B\nagain", "C"],
        "genre": ["x", None, "y"],
        "director": ["", "d", None],
    }
)
USERS = pd.DataFrame({"user_id": [7, 8], "age": [30.5, None]})


def test_frames_are_read_as_the_folder_that_they_are_written_to(tmp_path):
    frames = raypipe.Dataset.from_frames(
        INTERACTIONS, ITEMS, USERS, noun="film", verb="watched", attributes=["director"]
    )
    assert frames.item_features == ("genre",) and frames.user_features == ("age",)
    config = DataConfig(**frames.to_folder(tmp_path), min_interactions=3)
    options = source_options(config)
    raw = folder.read(tmp_path, options)
    for name in ("interactions", "items", "users"):
        pd.testing.assert_frame_equal(
            getattr(raw, name).to_pandas(), getattr(frames, name), check_dtype=False
        )
    assert raw.interactions["timestamp"].to_pylist()[0] == 1704067200
    assert (raw.noun, raw.verb, raw.attributes) == ("film", "watched", frames.attributes)
    dataset = read(SourceConfig(**frames.to_folder(tmp_path), min_interactions=2))
    assert dataset.quality["repeated user-item rows dropped"] == 1
    assert dataset.titles == {"a": "The 'A', part 1", "b": "B again", "c": "C"}


def test_frames_need_only_ids_and_titles(tmp_path):
    frames = raypipe.Dataset.from_frames(
        INTERACTIONS[["user_id", "item_id"]], ITEMS[["item_id", "title"]]
    )
    frames.to_folder(tmp_path)
    assert not (tmp_path / "users.csv").exists()
    raw = folder.read(tmp_path, folder.Options())
    assert raw.interactions["rating"].to_pylist() == [1.0] * 4
    assert raw.interactions["timestamp"].to_pylist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "frames,message",
    [
        ((INTERACTIONS.drop(columns="item_id"), ITEMS), "lacks the column.s. item_id"),
        ((INTERACTIONS, ITEMS.drop(columns="title")), "lacks the column.s. title"),
        ((INTERACTIONS.assign(user_id=[1, 2, None, 4]), ITEMS), "column user_id is empty"),
        (
            (INTERACTIONS.assign(rating=[1, "bad", 3, 4]), ITEMS),
            "'bad' in column rating is not a number",
        ),
        ((INTERACTIONS, ITEMS.assign(**{"a,b": 1})), "cannot name a column"),
    ],
)
def test_faulty_frames_are_refused(frames, message):
    with pytest.raises(DataError, match=message):
        raypipe.Dataset.from_frames(*frames)


def test_a_run_on_frames_needs_a_folder_on_disk(tmp_path):
    frames = raypipe.Dataset.from_frames(INTERACTIONS, ITEMS)
    config = raypipe.load_config("llama4rec", data={"protocol": "liked"})
    stored = face.with_data(config, frames, Store(str(tmp_path)))
    assert (stored.data.name, stored.data.protocol) == ("folder", "liked")
    assert stored.data.dir == str(tmp_path / "dataset")
    with pytest.raises(ConfigError, match="saved in the run folder"):
        face.with_data(config, frames, SimpleNamespace(is_local=False, uri="s3://bucket/run"))
