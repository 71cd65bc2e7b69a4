"""Reproduce the paper's tables and figures.

python jobs/experiment.py table2 --data ml-100k --data-dir DIR
python jobs/experiment.py all

The same as `raypipe reproduce`.
"""

import sys

import _start  # noqa: F401

from raypipe.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["reproduce", *sys.argv[1:]]))
