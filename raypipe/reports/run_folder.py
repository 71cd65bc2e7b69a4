"""The files of a run that people read, written at once."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from raypipe.pipeline.runner import Done
from raypipe.pipeline.store import Store

#: the configuration of a paper
Config = TypeVar("Config")


class FinishedRun(NamedTuple, Generic[Config]):
    """What a report is made of.

    Args:
        record: the stages of the run.
        began: start of the run in seconds since 1970.
        machine: what the report says of the machine.
    """

    config: Config
    store: Store
    record: list[Done]
    began: float
    machine: dict[str, Any]

    @property
    def by_name(self) -> dict[str, Done]:
        return {done.name: done for done in self.record}

    def artifact(self, stage: str) -> Path:
        """Local folder with the output of a stage."""
        return self.store.local(stage, self.by_name[stage].key)

    def read(self, stage: str, file: str) -> Any:
        """A JSON file from the output of a stage."""
        return json.loads((self.artifact(stage) / file).read_text())


def address(store: Store, place: str) -> str:
    """URI of the run folder `place` below the store's root."""
    return f"{store.uri}/{place}".rstrip("/")


@contextmanager
def writing(store: Store, place: str, replaced: Sequence[str]) -> Iterator[Path]:
    """A local folder to write to. When the block ends without an error, it is published.

    Args:
        place: the run folder below the store's root, "" for the root itself.
        replaced: folders of an earlier run that are removed first.
    """
    folder = Path(tempfile.mkdtemp(prefix="raypipe-"))
    try:
        yield folder
        for name in replaced:
            store.remove(f"{address(store, place)}/{name}")
        store.publish(folder, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
