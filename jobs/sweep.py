"""Search the hyper-parameters of one backbone; the best by validation becomes a preset.

python jobs/sweep.py --backbone light_gcn --data ml-100k --data-dir DIR
ray job submit -- python jobs/sweep.py --backbone sasrec --samples 60 --seeds 5

The search space is tune_configs/backbones/NAME.yaml. A search that was cut off continues with the same command.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from pathlib import Path

import _start  # noqa: F401
import numpy as np
import yaml
from options import configuration, guarded, parser, say

from raypipe.backbones import registry
from raypipe.errors import ConfigError
from raypipe.papers.llama4rec import sweep
from raypipe.papers.llama4rec.sweep import SPACES


def main() -> int:
    p = parser("Search the hyper-parameters of one backbone.")
    p.add_argument("--backbone", required=True, help="the name of its file, e.g. light_gcn")
    p.add_argument(
        "--samples",
        type=int,
        default=30,
        help="points drawn; 0 measures the configured options alone",
    )
    p.add_argument(
        "--finalists", type=int, default=3, help="best points that are compared over all seeds"
    )
    p.add_argument("--space", type=Path, help=f"search space (default: {SPACES.name}/NAME.yaml)")
    p.set_defaults(seeds=5)
    options = p.parse_args()
    name = options.backbone.replace("-", "_")
    task = registry.task_of(name)
    config, out = configuration(options)
    base = config.backbone_options.get(name, {})
    registry.options(task, name, base)
    space = sweep.read_space(options.space or SPACES / f"{name}.yaml", task, name)
    if min(options.samples, options.finalists - 1, config.seeds - 1) < 0:
        raise ConfigError(
            "too small a number", "--samples, --finalists, --seeds", "at least 0, 1 and 1"
        )
    from raypipe.cluster import session
    from raypipe.pipeline.store import Store
    from raypipe.reports.environment import commit

    place = options.out or f"runs/sweep-{Path(out).name}"
    store = Store(f"{place.rstrip('/')}/{name}")
    store.check_writable()
    with session.connected(say):
        found = session.in_worker(
            sweep.run,
            config,
            task,
            name,
            space,
            store.uri,
            options.samples,
            options.finalists,
            cpus=0,
        )
    command = "python jobs/sweep.py " + shlex.join(sys.argv[1:])
    record = {
        "command": command,
        "commit": commit(),
        "config": config.model_dump(mode="json"),
        **found._asdict(),
    }
    preset = yaml.safe_dump(
        {
            "data": config.data.model_dump(include={"name", "protocol"}),
            "backbone_options": {name: {**base, **found.options}},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sweep.json").write_text(json.dumps(record, indent=1))
        Path(folder, "preset.yaml").write_text(f"# chosen on validation by: {command}\n{preset}")
        store.publish(Path(folder), "")
    for part, values in (("validation", found.validation), ("test", found.test)):
        means = "  ".join(
            f"{m} {np.mean(v):.4f} +- {np.std(v, ddof=min(1, len(v) - 1)):.4f}"
            for m, v in values.items()
        )
        say(f"{name} {part:10s} {means}  ({config.seeds} seeds)")
    say(f"{store.uri}/preset.yaml")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
