"""Artifacts under one storage URI (a folder, s3://...). An artifact exists when its manifest does.

In a local or shared folder, an output is written under another name and then renamed. On an object
store it is uploaded, its manifest last. A killed run leaves only files that the next run ignores.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyarrow import fs

from raypipe.errors import ArtifactError, ConfigError

MANIFEST = "manifest.json"


class Store:
    """Artifacts by name and key below `uri`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri if "://" in uri else str(Path(uri).expanduser().resolve())
        self.filesystem, self.root = fs.FileSystem.from_uri(self.uri)
        self.is_local = isinstance(self.filesystem, fs.LocalFileSystem)

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.uri,)

    def check_writable(self) -> None:
        """Raise ConfigError if nothing can be written; called before anything heavy starts."""
        probe = f"{self.root}/.probe-{uuid.uuid4().hex}"
        try:
            self.filesystem.create_dir(self.root, recursive=True)
            with self.filesystem.open_output_stream(probe) as stream:
                stream.write(b"raypipe")
            self.filesystem.delete_file(probe)
        except OSError as error:
            raise ConfigError(
                f"the output cannot be written: {error}",
                f"--out {self.uri}",
                "choose another folder",
            ) from error

    def check_space(self, gib: float) -> None:
        """Raise ConfigError if a local output has less than `gib` GiB free."""
        if self.is_local:
            free = shutil.disk_usage(self.root).free / 2**30
            if free < gib:
                raise ConfigError(
                    f"{free:.1f} GiB are free, {gib:g} are needed",
                    f"--out {self.uri}",
                    "free some space, or choose another folder",
                )

    def path(self, name: str, key: str) -> str:
        """The path of an artifact within the file system."""
        return f"{self.root}/stages/{name.replace('/', '.')}-{key[:12]}"

    def scratch(self, name: str, key: str) -> str:
        """The URI or path for a stage's unfinished work.

        It survives an interruption and is removed when the artifact is committed.
        """
        return f"{self.uri}/scratch/{name.replace('/', '.')}-{key[:12]}"

    def has_scratch(self, name: str, key: str) -> bool:
        """Whether an interrupted run left unfinished work of a stage."""
        return self._is_folder(fs.FileSystem.from_uri(self.scratch(name, key))[1])

    def manifest(self, name: str, key: str) -> dict[str, Any] | None:
        """The manifest of a finished artifact, or None."""
        path = f"{self.path(name, key)}/{MANIFEST}"
        if self.filesystem.get_file_info(path).type != fs.FileType.File:
            return None
        with self.filesystem.open_input_stream(path) as stream:
            return json.loads(stream.read())

    def local(self, name: str, key: str) -> Path:
        """The artifact as a local folder; downloaded once per machine from an object store."""
        source = self.path(name, key)
        if self.manifest(name, key) is None:
            raise ArtifactError(
                f"the output of stage {name} is missing", source, "run the stage, or drop --only"
            )
        if self.is_local:
            return Path(source)
        digest = hashlib.sha256(f"{self.uri}\n{name}\n{key}".encode()).hexdigest()[:24]
        cached = Path(tempfile.gettempdir()) / "raypipe-cache" / digest
        if not cached.exists():
            aside = cached.with_name(f"{cached.name}.{uuid.uuid4().hex}")
            aside.mkdir(parents=True)
            fs.copy_files(
                source,
                str(aside),
                source_filesystem=self.filesystem,
                destination_filesystem=fs.LocalFileSystem(),
            )
            try:
                aside.rename(cached)
            except OSError:  # another worker of this machine has written it
                shutil.rmtree(aside, ignore_errors=True)
        return cached

    @contextmanager
    def writing(self, name: str, key: str, manifest: dict[str, Any]) -> Iterator[Path]:
        """A folder to write an artifact to; on success it becomes visible, with `manifest`."""
        target = self.path(name, key)
        parent = Path(target).parent if self.is_local else Path(tempfile.mkdtemp(prefix="raypipe-"))
        aside = parent / f".writing-{name.replace('/', '.')}-{uuid.uuid4().hex[:8]}"
        aside.mkdir(parents=True)
        try:
            yield aside
            self._put_manifest(aside, manifest)
            if self.is_local:
                shutil.rmtree(target, ignore_errors=True)
                aside.rename(target)
            else:
                file = aside / MANIFEST
                text = file.read_bytes()
                file.unlink()
                fs.copy_files(
                    str(aside),
                    target,
                    source_filesystem=fs.LocalFileSystem(),
                    destination_filesystem=self.filesystem,
                )
                with self.filesystem.open_output_stream(f"{target}/{MANIFEST}") as stream:
                    stream.write(text)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self.remove(self.scratch(name, key))

    def _put_manifest(self, folder: Path, manifest: dict[str, Any]) -> None:
        files = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                files[str(path.relative_to(folder))] = path.stat().st_size
        text = json.dumps({**manifest, "files": files}, indent=1, default=str)
        with open(folder / MANIFEST, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())

    def remove(self, uri: str) -> None:
        """Remove a folder below the store, if it exists."""
        path = fs.FileSystem.from_uri(uri)[1]
        if self._is_folder(path):
            self.filesystem.delete_dir(path)

    def _is_folder(self, path: str) -> bool:
        return bool(self.filesystem.get_file_info(path).type == fs.FileType.Directory)

    def forget(self, name: str, key: str) -> None:
        """Remove a finished artifact, so that its stage runs again."""
        if self.manifest(name, key) is not None:
            self.filesystem.delete_dir(self.path(name, key))

    def fetch(self, place: str, files: Iterable[str], to: str) -> str:
        """Copy published files of `place` to a local folder below `to`; returns that folder."""
        target = Path(to) / place
        target.mkdir(parents=True, exist_ok=True)
        for file in files:
            with self.filesystem.open_input_stream(f"{self.root}/{place}/{file}") as stream:
                (target / file).write_bytes(stream.read())
        return str(target)

    def publish(self, folder: Path, to: str) -> str:
        """Copy a local folder to `to` below the store's root, for the user; returns its URI."""
        target = f"{self.root}/{to}".rstrip("/")
        fs.copy_files(
            str(folder),
            target,
            source_filesystem=fs.LocalFileSystem(),
            destination_filesystem=self.filesystem,
        )
        return f"{self.uri}/{to}"
