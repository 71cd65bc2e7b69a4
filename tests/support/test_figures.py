"""The scripts that count: the style of the code, and the coverage of each room."""

import json

import pytest

from tests.support import room_coverage, style_figures

CROWDED = """
from typing import Any


def many(a, b, c, d, e, f, g):
    return [x for x in a]


def loose(value: Any, other: int, *more: dict[str, Any]) -> None:
    \"\"\"One line.\"\"\"
    first = 1
    second = 2  # fmt: skip
    third = "{long}"
"""


@pytest.fixture
def crowded(tmp_path):
    file = tmp_path / "crowded.py"
    file.write_text(CROWDED.replace("{long}", "x" * 100))
    return file


def test_figures_are_counted(crowded):
    counted, places = style_figures.figures([crowded])
    lines = len(crowded.read_text().splitlines())
    assert counted.comprehensions_per_1000_lines == round(1000 / lines, 1)
    assert (counted.overlong_lines, counted.format_skips) == (1, 1)
    assert counted.any_share == 0.1, "one of ten parameters is annotated with Any"
    assert counted.functions_with_many_arguments == 1
    assert counted.median_function_lines == 2
    assert len(places) == 4 and all(place.startswith(str(crowded)) for place in places)


def test_a_figure_above_its_limit_fails(crowded, tmp_path, capsys):
    assert style_figures.main([str(crowded)]) == 1
    assert "OVER" in capsys.readouterr().out
    (tmp_path / "plain.py").write_text("def plain(one: int) -> int:\n    return one\n")
    assert style_figures.main([str(tmp_path / "plain.py")]) == 0


def test_the_coverage_of_a_room_counts_its_lines(tmp_path, capsys):
    def summary(statements, covered):
        return {"summary": {"num_statements": statements, "covered_lines": covered}}

    files = {
        "raypipe/config.py": summary(10, 10),
        "raypipe/data/split.py": summary(10, 9),
        "/somewhere/raypipe/data/sources/toy.py": summary(30, 25),
        "raypipe/data/__init__.py": summary(0, 0),
    }
    assert room_coverage.percentages(files) == {"data": 85.0, "raypipe": 100.0}
    report = tmp_path / "coverage.json"
    report.write_text(json.dumps({"files": files}))
    assert room_coverage.main([str(report)]) == 0
    files["raypipe/data/kcore.py"] = summary(1, 0)
    report.write_text(json.dumps({"files": files}))
    assert room_coverage.main([str(report)]) == 1
    assert "at least 85 %" in capsys.readouterr().out
