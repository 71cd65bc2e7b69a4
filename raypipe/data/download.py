"""Fetching the original files of a dataset, where there is a network and no folder is given."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import NamedTuple

from raypipe.data.delimited import need_folder
from raypipe.errors import DataError


class Archive(NamedTuple):
    """A zip file on the web and the MD5 sum that its publisher gives."""

    url: str
    md5: str


def cache() -> Path:
    """Where fetched files are kept: RAYPIPE_CACHE, else ~/.cache/raypipe."""
    return Path(os.environ.get("RAYPIPE_CACHE") or Path.home() / ".cache" / "raypipe")


def files_of(folder: Path | None, dataset: str, archive: Archive, *files: str) -> Path:
    """The folder with all `files`: the given one, else one that was or is now fetched.

    Raises:
        DataError: files are missing in a given folder, the archive cannot be fetched, or its checksum is wrong.
    """
    if folder is not None:
        return need_folder(folder, dataset, *files)
    target = cache() / dataset
    if not all((target / f).is_file() for f in files):
        _fetch(dataset, archive, target, files)
    return target


def _fetch(dataset: str, archive: Archive, target: Path, files: tuple[str, ...]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        path = Path(scratch) / "archive.zip"
        try:
            with (
                urllib.request.urlopen(archive.url, timeout=60) as source,
                open(path, "wb") as sink,
            ):
                shutil.copyfileobj(source, sink)
        except (urllib.error.URLError, OSError) as error:
            raise DataError(
                f"the dataset {dataset} could not be fetched: {error}",
                archive.url,
                "get it yourself, and give its folder by --data-dir",
            ) from error
        got = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if got != archive.md5:
            raise DataError(
                f"the archive of {dataset} has the checksum {got}, expected {archive.md5}",
                archive.url,
                "it is broken or has changed; get it yourself, and give its folder by --data-dir",
            )
        out = Path(scratch) / "out"
        out.mkdir()
        with zipfile.ZipFile(path) as packed:
            for (
                member
            ) in packed.infolist():  # by their bare names: a path in the archive leads nowhere
                name = Path(member.filename).name
                if name in files:
                    (out / name).write_bytes(packed.read(member))
        need_folder(out, dataset, *files)
        shutil.rmtree(target, ignore_errors=True)
        out.rename(target)
