"""RecLM end to end: from a log of interactions and item texts to profiles, backbones that score new items, and a report.

ray job submit -- python jobs/reclm_pipeline.py
python jobs/reclm_pipeline.py --preset mind-reclm --data-dir DIR
"""

from __future__ import annotations

import sys
import time

import _start  # noqa: F401
from options import add_stage_options, guarded, reclm_configuration, reclm_parser, run_stages


def main() -> int:
    p = reclm_parser("Run RecLM end to end.")
    add_stage_options(p)
    options = p.parse_args()
    began = time.time()
    config, out = reclm_configuration(options)
    from raypipe.papers.reclm.config_checks import check_resources
    from raypipe.papers.reclm.report.publish import publish
    from raypipe.papers.reclm.stages import plan

    return run_stages(
        options,
        plan(config),
        out,
        lambda: check_resources(config),
        lambda store, record: publish(config, store, record, began),
    )


if __name__ == "__main__":
    sys.exit(guarded(main))
