"""Compare two runs: python jobs/compare.py runs/toy runs/other
The same as `raypipe compare`.
"""

import sys

import _start  # noqa: F401

from raypipe.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
