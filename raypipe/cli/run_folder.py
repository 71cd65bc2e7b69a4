"""What commands keep in a run folder beside the artifacts: config.yaml, the effective
configuration.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from raypipe import __version__
from raypipe.cli.arguments import RunSettings
from raypipe.config import HEADER
from raypipe.settings import as_yaml

if TYPE_CHECKING:
    from raypipe.pipeline.store import Store


def effective(run: RunSettings) -> str:
    """The whole configuration of a run as YAML, with the source of each value; a preset of the same
    run.
    """
    header = f"{HEADER.format(__version__)} of {run.paper.name}; --preset FILE takes it back"
    return f"{header}\n{as_yaml(run.config.model_dump(mode='json'), run.sources)}"


def keep_configuration(store: Store, run: RunSettings, to: str = "") -> None:
    """Write config.yaml into the run folder, `to` below the store's root."""
    with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
        Path(folder, "config.yaml").write_text(effective(run))
        store.publish(Path(folder), to)
