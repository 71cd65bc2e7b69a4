"""RecLM end to end: from a log of interactions and item texts to profiles, backbones that score new items, and a report.

ray job submit -- python jobs/reclm_pipeline.py
python jobs/reclm_pipeline.py --preset mind-reclm --data-dir DIR
"""

from __future__ import annotations

import sys
import time

import _start  # noqa: F401
from options import add_stage_options, common, folder_of, guarded, run_parser, run_stages

from raypipe.config import parse_set, presets
from raypipe.papers.reclm.config import PRESETS, ROWS, load


def main() -> int:
    p = run_parser("Run RecLM end to end.", presets(PRESETS), "llm.policy.method=grpo")
    p.add_argument("--rows", help=f"whose profiles the backbones are given: comma-separated among {', '.join(ROWS)}")
    add_stage_options(p)
    options = p.parse_args()
    began = time.time()
    preset, overrides = common(options, presets(PRESETS))
    for name in ("backbones", "rows"):
        if getattr(options, name):
            overrides[name] = [one.strip() for one in getattr(options, name).split(",")]
    config = load(preset, overrides | dict(parse_set(s) for s in options.set))
    from raypipe.papers.reclm.checks import check_resources
    from raypipe.papers.reclm.stages import plan
    from raypipe.reports.reclm import publish

    return run_stages(
        options,
        plan(config),
        folder_of(options, preset, "reclm-"),
        lambda: check_resources(config),
        lambda store, record: publish(config, store, record, began),
    )


if __name__ == "__main__":
    sys.exit(guarded(main))
