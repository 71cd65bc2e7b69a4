"""The main job: from a log of interactions to a report and a bundle.

ray job submit -- python jobs/full_pipeline.py
python jobs/full_pipeline.py --data ml-100k --data-dir DIR
"""

from __future__ import annotations

import sys
import time

import _start  # noqa: F401
from options import configuration, guarded, parser, say


def main() -> int:
    p = parser("Run Llama4Rec end to end.")
    p.add_argument("--list", action="store_true", help="print the stages and stop")
    p.add_argument("--from", dest="start", metavar="STAGE", help="run this stage again, and all that depend on it")
    p.add_argument("--only", metavar="STAGE", help="run this stage alone")
    p.add_argument("--dry-run", action="store_true", help="print stages, resources and what is done, and stop")
    p.add_argument("--verbose", action="store_true", help="show the output of all workers")
    options = p.parse_args()
    began = time.time()
    config, out = configuration(options)
    from raypipe.papers.llama4rec.checks import check_resources
    from raypipe.papers.llama4rec.stages import plan
    from raypipe.papers.run import runner as make_runner
    from raypipe.pipeline.store import Store

    store = Store(out)
    stages = plan(config)
    if options.list:
        for stage in stages:
            say(stage.name)
        return 0
    if not options.dry_run:
        store.check_writable()
        store.check_space(1.0)
    runner = make_runner(stages, store, say)
    if options.dry_run:
        for planned in runner.plan():
            state = "done" if planned.cached else "to run"
            say(f"{planned.stage.name:40s} {planned.key[:12]}  {state:7s} {planned.stage.resources}")
        return 0
    for option, name in (("--from", options.start), ("--only", options.only)):
        if name:
            runner.matching(name, option)
    from raypipe.cluster import session
    from raypipe.reports.publish import publish

    with session.connected(say, options.verbose):
        check_resources(config)
        record = runner.run(options.start, options.only)
        if options.only:
            return 0
        say(publish(config, store, record, began))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
