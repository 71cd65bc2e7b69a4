"""A file imports only from its own folder and from lower levels; imports stay light."""

import ast
import json
import subprocess
import sys

import pytest

import raypipe
from tests.support.paths import PACKAGE, ROOT

LEVELS = [
    {
        "__init__",
        "errors",
        "extras",
        "seeding",
        "schema",
        "config",
        "settings",
        "trees",
        "plugins",
    },
    {"data", "evaluation", "prompts", "pipeline", "cluster"},
    {"backbones", "llm", "tuning", "reports"},
    {"steps"},
    {"papers"},
    {"serving"},
    {"cli"},
    {"__main__"},
]
#: the only places that may import ray
RAY = (
    "cluster/",
    "llm/vllm.py",
    "llm/transformers.py",
    "llm/endpoint.py",
    "llm/encoder.py",
    "serving/",
    "cli/submitting.py",
)
#: folders that hold data files and no code
DATA_FOLDERS = {"tune_configs"}
FILES = sorted(p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py"))


def room(path):
    return path.parts[0].removesuffix(".py")


def level(name):
    return next(n for n, rooms in enumerate(LEVELS) if name in rooms)


def imports(path):
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            if node.module == "raypipe":
                yield from (f"raypipe.{a.name}" for a in node.names)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_from_lower_levels_only(path):
    if path.as_posix() == "__init__.py":
        return  # the public face names higher floors: see test_the_public_face_is_lazy
    own_room = room(path)
    for name in imports(path):
        if not name.startswith("raypipe."):
            continue
        other = name.split(".")[1]
        if other in ("__version__",) or other == own_room or level(own_room) == level(other) == 0:
            continue  # the ground floor is one room
        assert level(other) < level(own_room), (
            f"{path} (level {level(own_room)}) imports {name} (level {level(other)})"
        )


def test_the_public_face_is_lazy():
    """raypipe/__init__.py is the one exception to the floors: it offers names of higher floors.

    It imports them inside functions, when they are first used, or for type checkers alone.
    """
    body = ast.parse((PACKAGE / "__init__.py").read_text()).body
    eager = [
        node
        for node in body
        if not isinstance(node, ast.FunctionDef) and not ast.unparse(node).startswith("if TYPE_CH")
    ]
    for node in ast.walk(ast.Module(eager, [])):
        if isinstance(node, ast.ImportFrom):
            assert node.module in sys.stdlib_module_names
        assert not isinstance(node, ast.Import)
    assert all(hasattr(raypipe, name) for name in raypipe.__all__)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_ray_stays_in_its_rooms(path):
    if path.as_posix().startswith(RAY):
        return
    assert not [n for n in imports(path) if n == "ray" or n.startswith("ray.")]


def test_every_room_has_a_level():
    rooms = {room(p) for p in FILES} | {
        p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"
    }
    assert rooms - DATA_FOLDERS == set().union(*LEVELS)
    assert not [p for p in FILES if room(p) in DATA_FOLDERS]


def heavy_imports(modules, heavy):
    """Module -> which heavy ones came with it, in one fresh interpreter.

    What a module imports alone it also imports after others: where nothing heavy is loaded after
    all of them, each of them is light.
    """
    script = """
import importlib, json, sys
modules, heavy = json.loads(sys.argv[1])
found = {}
for module in modules:
    before = set(sys.modules)
    importlib.import_module(module)
    if brought := sorted((set(sys.modules) - before) & set(heavy)):
        found[module] = brought
print(json.dumps(found))
"""
    result = subprocess.run(
        [sys.executable, "-c", script, json.dumps([modules, heavy])],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return json.loads(result.stdout)


LIGHT = [
    "raypipe.papers.face",
    "raypipe.papers.llama4rec.config",
    "raypipe.papers.llama4rec.aggregation",
    "raypipe.data.dataset",
    "raypipe.pipeline.runner",
]
#: modules of stages that run in worker processes and train nothing
WORKERS = [
    "raypipe.steps.completions",
    "raypipe.papers.llama4rec.prompts",
    "raypipe.papers.llama4rec.instructions",
    "raypipe.papers.llama4rec.augmentation",
    "raypipe.papers.llama4rec.llm_scores",
    "raypipe.papers.llama4rec.external_llm",
    "raypipe.papers.llama4rec.attribute_accuracy",
    "raypipe.papers.llama4rec.bundle",
    "raypipe.papers.reclm.profiles",
    "raypipe.papers.reclm.prompt_tables",
    "raypipe.papers.reclm.dialogues",
    "raypipe.papers.reclm.teacher",
    "raypipe.papers.reclm.reward_pairs",
    "raypipe.papers.reclm.vectors",
    "raypipe.papers.reclm.bundle",
]


def test_imports_are_light():
    heavy = ["ray", "torch", "vllm", "transformers", "deepspeed", "matplotlib"]
    assert heavy_imports(LIGHT, heavy) == {}


def test_workers_that_train_nothing_start_without_torch():
    """A worker process imports the file of its stage. Importing torch takes most of a start."""
    heavy = ["torch", "sklearn", "ray.train", "ray.tune"]
    assert heavy_imports(WORKERS, heavy) == {}


def test_no_file_is_overlong():
    long = {str(p): n for p in FILES if (n := len((PACKAGE / p).read_text().splitlines())) > 300}
    assert not long, long
