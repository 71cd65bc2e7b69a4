"""The main job: from a log of interactions to a report and a bundle.

ray job submit -- python jobs/full_pipeline.py
python jobs/full_pipeline.py --data ml-100k --data-dir DIR
"""

from __future__ import annotations

import sys
import time

import _start  # noqa: F401
from options import add_stage_options, configuration, guarded, parser, run_stages


def main() -> int:
    p = parser("Run Llama4Rec end to end.")
    add_stage_options(p)
    options = p.parse_args()
    began = time.time()
    config, out = configuration(options)
    from raypipe.papers.llama4rec.config_checks import check_resources
    from raypipe.papers.llama4rec.report.publish import publish
    from raypipe.papers.llama4rec.stages import plan

    return run_stages(
        options,
        plan(config),
        out,
        lambda: check_resources(config),
        lambda store, record: publish(config, store, record, began),
    )


if __name__ == "__main__":
    sys.exit(guarded(main))
