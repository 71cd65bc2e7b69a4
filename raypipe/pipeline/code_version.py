"""The code that a stage depends on: its file and all files of the package that it imports.

Imports are read from the syntax trees, those inside functions included, so nothing is imported to
compute a version. A package that is imported as a whole, such as `raypipe.data.sources`, stands for
all of its modules, because plug-ins are found by listing it (plugins.py).
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PACKAGE = __package__.partition(".")[0]


def code_version(body: Callable[..., Any]) -> str:
    """A hash of the sources that a stage's body depends on.

    Args:
        body: a function, an object with a `__call__`, or a `functools.partial` of one.
    """
    while isinstance(body, functools.partial):
        body = body.func
    module = getattr(body, "__module__", None) or type(body).__module__
    return module_version(module)


@functools.cache
def module_version(module: str) -> str:
    """A hash of the sources of a module and of all that it imports from the package."""
    digest = hashlib.sha256()
    for name, file in sorted(closure(module).items()):
        digest.update(name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def closure(module: str) -> dict[str, Path]:
    """Module name -> file, for a module and everything that it imports from the package."""
    files: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in files:
            continue
        file = _file(name)
        if file is None:
            continue
        files[name] = file
        waiting += _imports(name, file)
    return files


@functools.cache
def _file(module: str) -> Path | None:
    """The source of a module, or None without source.

    The package's root counts as without source: it decides no result.
    """
    if module == PACKAGE:
        return None
    loaded = sys.modules.get(module)
    if loaded is not None and getattr(loaded, "__file__", None):
        return Path(str(loaded.__file__))
    spec = importlib.util.find_spec(module)
    return Path(spec.origin) if spec is not None and spec.origin else None


@functools.cache
def _imports(module: str, file: Path) -> tuple[str, ...]:
    """The modules of the package that one file imports, with the packages that they lie in."""
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found += [name for alias in node.names for name in _whole(alias.name)]
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            found += _from(node.module, [alias.name for alias in node.names])
    return tuple(dict.fromkeys(found))


def _from(module: str, names: list[str]) -> Iterator[str]:
    """What `from module import names` makes a file depend on."""
    if module.partition(".")[0] != PACKAGE:
        return
    yield from _parents(module)
    yield module
    if not _is_package(module):
        return
    for name in names:
        if _exists(f"{module}.{name}"):
            yield from _whole(f"{module}.{name}")


def _whole(module: str) -> Iterator[str]:
    """A module with its parents; a package with all of its modules."""
    if module.partition(".")[0] != PACKAGE:
        return
    yield from _parents(module)
    yield module
    if _is_package(module):
        yield from _modules(module)


def _parents(module: str) -> Iterator[str]:
    parts = module.split(".")
    for length in range(1, len(parts)):
        yield ".".join(parts[:length])


@functools.cache
def _exists(module: str) -> bool:
    return module in sys.modules or importlib.util.find_spec(module) is not None


def _is_package(module: str) -> bool:
    file = _file(module)
    return module == PACKAGE or (file is not None and file.name == "__init__.py")


def _modules(package: str) -> Iterator[str]:
    """The modules of a plug-in folder, wherever they lie."""
    for folder in importlib.import_module(package).__path__:
        for file in sorted(Path(folder).glob("*.py")):
            if file.stem != "__init__":
                yield f"{package}.{file.stem}"
