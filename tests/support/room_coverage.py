"""The coverage of each room: `python tests/support/room_coverage.py coverage.json`.

The exit code is 1 where the coverage of a room is too low.

coverage.json is what `pytest --cov --cov-report=json` writes. Lines that run in processes which a
test starts count too. What Ray's workers run does not count: Ray kills most of them before they
can save what they measured, so the tests on Ray measure none.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: percent of the lines of each room that the tests are to run, without the slow ones
LEAST = 85.0


def room(file: str) -> str:
    """The room of a file: its folder in raypipe/; the files beside the rooms are one room."""
    parts = Path(file).parts
    inside = parts[parts.index("raypipe") + 1 :]
    return inside[0] if len(inside) > 1 else "raypipe"


def percentages(files: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Room -> percent of its lines that ran; `files` as in coverage.json."""
    lines, ran = Counter[str](), Counter[str]()
    for file, report in files.items():
        lines[room(file)] += report["summary"]["num_statements"]
        ran[room(file)] += report["summary"]["covered_lines"]
    return {name: 100 * ran[name] / lines[name] for name in sorted(lines) if lines[name]}


def main(arguments: list[str]) -> int:
    """Print the coverage of each room; 1 where one has less than LEAST."""
    files = json.loads(Path(arguments[0]).read_text())["files"]
    missed = 0
    for name, percent in percentages(files).items():
        line = f"{name:12s} {percent:5.1f} %"
        if percent < LEAST:
            missed += 1
            line += f"   too low: at least {LEAST:g} % of the lines must run"
        print(line)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
