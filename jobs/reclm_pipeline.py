"""RecLM end to end: from interactions and item texts to profiles and scores of new items.

ray job submit -- python jobs/reclm_pipeline.py
python jobs/reclm_pipeline.py --preset mind-reclm --data-dir DIR

The same as `raypipe run reclm`.
"""

import sys

import _start  # noqa: F401

from raypipe.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["run", "reclm", *sys.argv[1:]]))
