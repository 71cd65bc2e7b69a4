"""Tables that Ray Data's tasks write."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from raypipe.cluster import ray_data
from raypipe.errors import ArtifactError


def test_tables_are_written_in_the_order_of_their_parts_and_none_is_lost_unseen(
    tmp_path, monkeypatch
):
    import ray.data

    class Numbers:
        """Ray Data's tasks, one after another in this process, the last first."""

        def __init__(self, n, override_num_blocks):
            self.parts = np.array_split(np.arange(n), override_num_blocks)[::-1]

        def map_batches(self, each, batch_size):
            made = [each({"id": part}) for part in self.parts]
            return SimpleNamespace(
                iter_rows=lambda: [{"rows": value} for one in made for value in one["rows"]]
            )

    monkeypatch.setattr(ray.data, "range", Numbers)
    monkeypatch.setattr(ray_data, "quiet", lambda: None)
    monkeypatch.setattr(ray_data.session, "resources", lambda: {"CPU": 1.0})
    parts, folder = [f"part {n}" for n in range(12)], str(tmp_path / "made")
    two = lambda part: (pa.table({"of": [part] * rows}) for rows in (2, 1))  # noqa: E731
    for _ in range(2):  # a task that is done again writes the same files
        assert ray_data.write_parts(parts, two, folder) == 36
        assert ray_data.read_finished(folder)["of"].tolist() == [
            part for part in parts for _ in range(3)
        ]
    assert ray_data.write_parts([], two, str(tmp_path / "none")) == 0
    monkeypatch.setattr(
        ray_data, "finished_files", lambda folder: ray_data.FinishedFiles(30, [])
    )  # what another node wrote on its own disk
    with pytest.raises(ArtifactError, match="6 of 36 rows"):
        ray_data.write_parts(parts, two, folder)
