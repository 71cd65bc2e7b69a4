"""Compare two runs: settings that differ, and every result that both have, tested over the users that both have.

python jobs/compare.py runs/toy runs/other
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import _start  # noqa: F401
from options import guarded, say


def main() -> int:
    p = argparse.ArgumentParser(description="Compare two runs.")
    p.add_argument("one", metavar="RUN_A", type=Path, help="run folder")
    p.add_argument("two", metavar="RUN_B", type=Path, help="run folder")
    options = p.parse_args()
    from raypipe.papers.llama4rec.report.compare import compare, text

    say(text(str(options.one), str(options.two), *compare(options.one, options.two)))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
