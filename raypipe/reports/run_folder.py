"""The files of a run that people read, written at once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from raypipe.pipeline.store import Store


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
