"""The main job: from a log of interactions to a report and a bundle.

ray job submit -- python jobs/full_pipeline.py
python jobs/full_pipeline.py --data ml-100k --data-dir DIR

The same as `raypipe run llama4rec`.
"""

import sys

import _start  # noqa: F401

from raypipe.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["run", "llama4rec", *sys.argv[1:]]))
