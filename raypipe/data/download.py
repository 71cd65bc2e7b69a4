"""Download of a dataset's original files, where no folder is given."""

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
    """A zip file on the web, and the MD5 sum that its publisher states."""

    url: str
    md5: str


def cache() -> Path:
    """Folder for downloaded files: RAYPIPE_CACHE, else ~/.cache/raypipe."""
    return Path(os.environ.get("RAYPIPE_CACHE") or Path.home() / ".cache" / "raypipe")


def dataset_folder(folder: Path | None, dataset: str, archive: Archive, *files: str) -> Path:
    """A folder with all `files`: the given one, else the cache, filled by a download if needed.

    Raises:
        DataError: files are missing in the given folder, the archive cannot be downloaded, or its
            checksum is wrong.
    """
    if folder is not None:
        return need_folder(folder, dataset, *files)
    target = cache() / dataset
    if not all((target / f).is_file() for f in files):
        _fetch(dataset, archive, target, files)
    return target


def _fetch(dataset: str, archive: Archive, target: Path, files: tuple[str, ...]) -> None:
    """Download the archive, check it, and put its `files` into the folder `target`."""
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
                f"the dataset {dataset} could not be downloaded: {error}",
                archive.url,
                "download and unpack it yourself, then pass --data-dir FOLDER",
            ) from error
        checksum = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if checksum != archive.md5:
            raise DataError(
                f"the archive of {dataset} has the checksum {checksum}, expected {archive.md5}",
                archive.url,
                "the download is damaged or the archive has changed; run the command again, or "
                "download and unpack it yourself, then pass --data-dir FOLDER",
            )
        unpacked = Path(scratch) / "out"
        unpacked.mkdir()
        with zipfile.ZipFile(path) as contents:
            for member in contents.infolist():
                name = Path(member.filename).name  # no folders: a path could lead outside
                if name in files:
                    (unpacked / name).write_bytes(contents.read(member))
        need_folder(unpacked, dataset, *files)
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)
