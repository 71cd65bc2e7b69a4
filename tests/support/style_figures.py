"""The style of the code as figures, counted over syntax trees.

`python tests/support/style_figures.py [folder ...]` prints each figure with its limit. For given
folders or files it also lists the places that count.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[2] / "raypipe"
COLUMNS = 100
MOST_ARGUMENTS = 6
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Figures(NamedTuple):
    """What is counted, over all files together."""

    comprehensions_per_1000_lines: float
    overlong_lines: int
    format_skips: int
    any_share: float
    functions_with_many_arguments: int
    median_function_lines: float


#: the largest value that each figure may have
LIMITS = Figures(20.0, 0, 0, 0.03, 3, 8.0)


def sources(places: Iterable[Path]) -> Iterator[Path]:
    """The Python files of folders, and files as they are."""
    for place in places:
        yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]


def arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """All parameters but `self` and `cls`."""
    signature = function.args
    named = [*signature.posonlyargs, *signature.args, *signature.kwonlyargs]
    starred = [extra for extra in (signature.vararg, signature.kwarg) if extra is not None]
    return [argument for argument in [*named, *starred] if argument.arg not in ("self", "cls")]


def mentions_any(annotation: ast.expr | None) -> bool:
    """Whether an annotation is Any, alone or as a part, such as dict[str, Any]."""
    if annotation is None:
        return False
    return any(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(annotation))


def is_any(annotation: ast.expr | None) -> bool:
    """Whether an annotation is Any itself."""
    return isinstance(annotation, ast.Name) and annotation.id == "Any"


def figures(files: Iterable[Path]) -> tuple[Figures, list[str]]:
    """The figures of some files, and the places that count against a limit."""
    lines = comprehensions = overlong = skips = parameters = loose = crowded = 0
    lengths: list[int] = []
    places: list[str] = []
    for file in files:
        text = file.read_text().splitlines()
        lines += len(text)
        for number, line in enumerate(text, 1):
            if len(line) > COLUMNS:
                overlong += 1
                places.append(f"{file}:{number}: {len(line)} columns")
            if "fmt: skip" in line or "fmt: off" in line:
                skips += 1
                places.append(f"{file}:{number}: the formatter is switched off")
        for node in ast.walk(ast.parse("\n".join(text))):
            if isinstance(node, COMPREHENSIONS):
                comprehensions += 1
            if not isinstance(node, FUNCTIONS):
                continue
            function_arguments = arguments(node)
            parameters += len(function_arguments)
            lengths.append(_body_lines(node))
            for argument in function_arguments:
                if is_any(argument.annotation):
                    loose += 1
                    places.append(f"{file}:{argument.lineno}: {node.name}({argument.arg}: Any)")
            if len(function_arguments) > MOST_ARGUMENTS:
                crowded += 1
                places.append(
                    f"{file}:{node.lineno}: {node.name} has {len(function_arguments)} arguments"
                )
    counted = Figures(
        round(1000 * comprehensions / max(lines, 1), 1),
        overlong,
        skips,
        round(loose / max(parameters, 1), 3),
        crowded,
        statistics.median(lengths) if lengths else 0,
    )
    return counted, places


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body without its docstring."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def main(arguments: list[str]) -> int:
    """Print the figures beside their limits; 1 where one is above its limit."""
    chosen = [Path(argument) for argument in arguments] or [PACKAGE]
    counted, places = figures(sources(chosen))
    if arguments:
        print("\n".join(places))
    missed = 0
    for name, value, limit in zip(Figures._fields, counted, LIMITS, strict=True):
        over = value > limit
        missed += over
        print(f"{name.replace('_', ' '):34s} {value:8g}   at most {limit:g}" + "  OVER" * over)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
