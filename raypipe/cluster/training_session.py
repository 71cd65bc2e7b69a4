"""What a training loop sees of the cluster: its rank, its device, and where checkpoints go.

`Session` is one of several Ray Train workers that train together; `LocalSession` trains alone.
Both keep their own checkpoints, so that one start of workers serves many trainings.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import ray.train
import ray.train.torch
import torch
from pyarrow import fs

from raypipe.cluster import session
from raypipe.cluster.ray_data import resolve

#: folder of the result, beside the checkpoints of a training
FINAL = "final"
#: file that names the newest whole checkpoint, or FINAL
LATEST = "latest"

#: writes a checkpoint or a result to a folder
Write = Callable[[Path], object]


class CheckpointFolder:
    """The checkpoints of one training, in a folder of any file system.

    A checkpoint is a folder of its own, into which every worker writes. It counts once LATEST names
    it; then the one before it is removed.

    Args:
        folder: folder or URI.
    """

    def __init__(self, folder: str) -> None:
        self._filesystem, self._root = resolve(folder)

    @property
    def name(self) -> str:
        """The last part of the folder's path."""
        return self._root.rpartition("/")[2]

    def latest(self) -> str | None:
        """The newest whole checkpoint, or FINAL; None if there is none."""
        path = f"{self._root}/{LATEST}"
        if self._filesystem.get_file_info(path).type != fs.FileType.File:
            return None
        with self._filesystem.open_input_stream(path) as stream:
            return stream.read().decode()

    def remove_incomplete(self) -> None:
        """Remove what an interrupted training wrote after its last whole checkpoint."""
        latest = self.latest()
        selector = fs.FileSelector(self._root, allow_not_found=True)
        for entry in self._filesystem.get_file_info(selector):
            if entry.type == fs.FileType.Directory and entry.base_name != latest:
                self._filesystem.delete_dir(entry.path)

    def write(self, name: str, write: Write, together: bool = False) -> None:
        """Let `write` fill the folder of a checkpoint.

        Args:
            together: others write into it at the same time; `write` still finds an empty folder.
        """
        target = f"{self._root}/{name}"
        self._filesystem.create_dir(target, recursive=True)
        if isinstance(self._filesystem, fs.LocalFileSystem) and not together:
            write(Path(target))
            return
        with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
            write(Path(folder))
            fs.copy_files(
                folder,
                target,
                source_filesystem=fs.LocalFileSystem(),
                destination_filesystem=self._filesystem,
            )

    def publish(self, name: str) -> None:
        """Let a checkpoint that is whole replace the one before it."""
        previous = self.latest()
        new = f"{self._root}/{LATEST}.new"
        with self._filesystem.open_output_stream(new) as stream:
            stream.write(name.encode())
        self._filesystem.move(new, f"{self._root}/{LATEST}")
        if previous and previous != name:
            self._filesystem.delete_dir(f"{self._root}/{previous}")

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """A local folder with the files of a checkpoint."""
        source = f"{self._root}/{name}"
        if isinstance(self._filesystem, fs.LocalFileSystem):
            yield Path(source)
            return
        with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
            fs.copy_files(
                source,
                folder,
                source_filesystem=self._filesystem,
                destination_filesystem=fs.LocalFileSystem(),
            )
            yield Path(folder)


class Session:
    """One of the workers that train together.

    Args:
        scratch: folder or URI of the checkpoints.
        every_seconds: least time between two checkpoints.
    """

    rank, world = 0, 1

    def __init__(self, scratch: str, every_seconds: float) -> None:
        self._join()
        self.device = ray.train.torch.get_device()
        self._every, self._last = every_seconds, time.monotonic()
        self._folder = CheckpointFolder(scratch)
        if self.rank == 0:
            self._folder.remove_incomplete()
        self._barrier()
        latest = self._folder.latest()
        #: whether an interrupted training had handed over its result already
        self.is_finished = latest == FINAL
        self._number = 0 if latest in (None, FINAL) else int(latest.rpartition("_")[2]) + 1

    def _join(self) -> None:
        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()

    def _barrier(self) -> None:
        """Wait for all workers."""
        if self.world > 1:
            self.all_reduce(torch.zeros(1, device=self.device))

    def save(self, write: Write, step: int = 0) -> None:
        """Write a checkpoint if the last one is old enough: worker 0 decides for all workers."""
        if self.due(step):
            self.checkpoint(write)

    def due(self, step: int) -> bool:
        """Whether the last checkpoint is old enough. All workers call this after every step."""
        if self.world == 1:
            return time.monotonic() - self._last >= self._every
        if step % 5:
            return False
        is_old = float(time.monotonic() - self._last >= self._every)
        decision = torch.tensor([is_old], device=self.device)
        torch.distributed.broadcast(decision, 0)
        return bool(decision.item())

    def checkpoint(self, write: Write) -> None:
        """Write a checkpoint; every worker writes its part."""
        name = f"checkpoint_{self._number:06d}"
        self._folder.write(name, write, self.world > 1)
        self._publish(name)
        self._number += 1
        self._last = time.monotonic()

    def finish(self, write: Write, together: bool = False) -> None:
        """Hand over the result.

        Args:
            together: the files of all workers are the result; else those of worker 0 alone.
        """
        if self.rank == 0 or together:
            self._folder.write(FINAL, write, together and self.world > 1)
        self._publish(FINAL)

    def _publish(self, name: str) -> None:
        self._barrier()  # until every worker has written its part
        if self.rank == 0:
            self._folder.publish(name)

    def all_reduce(self, tensor: torch.Tensor) -> None:
        """Sum a tensor over all workers, in place."""
        if self.world > 1:
            torch.distributed.all_reduce(tensor)

    def broadcast_folder(self, folder: Path) -> None:
        """Copy worker 0's files of a folder to the same folder of every worker, on any node."""
        if self.world == 1:
            return
        for name, size in self._broadcast_listing(folder):
            file = folder / name
            content = np.fromfile(file, np.uint8) if self.rank == 0 else np.empty(size, np.uint8)
            data = torch.from_numpy(content).to(self.device)
            torch.distributed.broadcast(data, 0)
            if self.rank:
                file.parent.mkdir(parents=True, exist_ok=True)
                data.cpu().numpy().tofile(file)

    def _broadcast_listing(self, folder: Path) -> list[tuple[str, int]]:
        """Name and size of worker 0's files, on every worker."""
        files: list[tuple[str, int]] = []
        if self.rank == 0:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    files.append((str(path.relative_to(folder)), path.stat().st_size))
        message = [files]
        torch.distributed.broadcast_object_list(message, 0, device=self.device)
        return message[0]

    @contextmanager
    def resume(self) -> Iterator[Path | None]:
        """The folder of the checkpoint from which this training continues, or None."""
        latest = self._folder.latest()
        if latest is None:
            yield None
            return
        with self._folder.reading(latest) as folder:
            session.post(f"    continuing from a checkpoint ({self._folder.name})")
            yield folder


class LocalSession(Session):
    """The only worker of a training, beside others that train something else.

    Args:
        scratch: folder or URI of the checkpoints.
        out: where the result goes.
        every_seconds: least time between two checkpoints.
    """

    def __init__(self, scratch: str, out: Path, every_seconds: float) -> None:
        super().__init__(scratch, every_seconds)
        self._out = out

    def _join(self) -> None:
        """Others may train beside this one; they are no part of it."""

    def finish(self, write: Write, together: bool = False) -> None:
        """Hand over the result."""
        write(self._out)
