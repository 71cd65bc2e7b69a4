"""Search the hyper-parameters of one backbone: python jobs/sweep.py --backbone light_gcn
The same as `raypipe sweep`.
"""

import sys

import _start  # noqa: F401

from raypipe.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))
