"""What a training loop sees of the cluster: its rank, its device, and where checkpoints go.

`Session` is one of several Ray Train workers; `LocalSession` trains alone and keeps its own
checkpoints. Both have the same methods.
"""

from __future__ import annotations

import shutil
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
from ray.train import Checkpoint

from raypipe.cluster import session
from raypipe.cluster.ray_data import resolve

#: folder of the last checkpoint that holds the result
FINAL = "final"

#: writes a checkpoint or a result to a folder
Write = Callable[[Path], object]


class Session:
    """A Ray Train worker among the others.

    Args:
        every_seconds: least time between two checkpoints.
    """

    def __init__(self, every_seconds: float) -> None:
        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        self._every, self._last = every_seconds, time.monotonic()

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
        self._report(write)
        self._last = time.monotonic()

    def finish(self, write: Write, together: bool = False) -> None:
        """Hand over the result.

        Args:
            together: the files of all workers are the result; else those of worker 0 alone.
        """

        def write_result(folder: Path) -> None:
            (folder / FINAL).mkdir()
            if self.rank == 0 or together:
                write(folder / FINAL)

        self._report(write_result)

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
        """The folder of the last checkpoint, or None."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            yield None
            return
        with checkpoint.as_directory() as folder:
            name = ray.train.get_context().get_experiment_name()
            session.post(f"    continuing from a checkpoint ({name})")
            yield Path(folder)

    def resume_finished(self) -> bool:
        """Hand over the result of a run that was interrupted after `finish`, if there is one."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return False
        with checkpoint.as_directory() as folder:
            result = Path(folder) / FINAL
            if not result.is_dir() or not any(result.iterdir()):
                return False
            session.post("    continuing from a checkpoint: the training itself was done")
            self.finish(lambda target: shutil.copytree(result, target, dirs_exist_ok=True))
            return True

    def _report(self, write: Write) -> None:
        with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
            write(Path(folder))
            ray.train.report({}, checkpoint=Checkpoint.from_directory(folder))


class LocalSession:
    """The only worker of a training: like `Session`, with checkpoints of its own.

    Args:
        scratch: folder or URI of the checkpoints; the file `latest` names the newest.
        out: where the result goes.
        every_seconds: least time between two checkpoints.
    """

    rank, world = 0, 1

    def __init__(self, scratch: str, out: Path, every_seconds: float) -> None:
        self.device = ray.train.torch.get_device()
        self._out, self._every, self._last = out, every_seconds, time.monotonic()
        self._filesystem, self._root = resolve(scratch)

    def save(self, write: Write, step: int = 0) -> None:
        """Write a checkpoint if the last one is old enough; it counts once `latest` names it."""
        if time.monotonic() - self._last < self._every:
            return
        previous = self._latest()
        number = int(previous.rpartition("_")[2]) + 1 if previous else 0
        name = f"checkpoint_{number:06d}"
        target = f"{self._root}/{name}"
        with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
            write(Path(folder))
            self._filesystem.create_dir(target, recursive=True)
            fs.copy_files(
                folder,
                target,
                source_filesystem=fs.LocalFileSystem(),
                destination_filesystem=self._filesystem,
            )
        with self._filesystem.open_output_stream(f"{self._root}/latest.new") as stream:
            stream.write(name.encode())
        self._filesystem.move(f"{self._root}/latest.new", f"{self._root}/latest")
        if previous:
            self._filesystem.delete_dir(f"{self._root}/{previous}")
        self._last = time.monotonic()

    def finish(self, write: Write, together: bool = False) -> None:
        """Hand over the result."""
        write(self._out)

    def all_reduce(self, tensor: torch.Tensor) -> None:
        """Nothing to sum: there is one worker."""

    @contextmanager
    def resume(self) -> Iterator[Path | None]:
        """The folder of the last checkpoint, or None."""
        latest = self._latest()
        if latest is None:
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
            fs.copy_files(
                f"{self._root}/{latest}",
                folder,
                source_filesystem=self._filesystem,
                destination_filesystem=fs.LocalFileSystem(),
            )
            session.post(f"    continuing from a checkpoint ({self._root.rpartition('/')[2]})")
            yield Path(folder)

    def _latest(self) -> str | None:
        path = f"{self._root}/latest"
        if self._filesystem.get_file_info(path).type != fs.FileType.File:
            return None
        with self._filesystem.open_input_stream(path) as stream:
            return stream.read().decode()
