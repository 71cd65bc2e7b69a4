"""Submit a run to a cluster and follow it.

python jobs/submit.py [--job full_pipeline] [options of the run]

The same as `raypipe submit`.
"""

import sys

import _start  # noqa: F401

from raypipe.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["submit", *sys.argv[1:]]))
