"""The dataset of docs/development/adding.md is found and read as it is printed there."""

import re
from pathlib import Path

from raypipe import plugins
from raypipe.data import sources
from raypipe.data.config import DataConfig
from raypipe.data.dataset import read

PAGE = Path(__file__).parents[2] / "docs" / "development" / "adding.md"


def test_the_example_dataset_is_found_and_read(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S).group(1)
    (tmp_path / "my_log.py").write_text(code)
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path)])
    rows = ["user_id\titem_id\trating\ttimestamp"]
    rows += [f"u{user}\ti{item}\t4\t{item}" for user in range(3) for item in range(4)]
    items = ["item_id\ttitle\tartist", *(f"i{item}\tSong {item}\tNova" for item in range(4))]
    (tmp_path / "log.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "items.tsv").write_text("\n".join(items) + "\n")
    assert "my_log" in plugins.names(sources)
    dataset = read(DataConfig(name="my_log", dir=str(tmp_path)))
    assert len(dataset.interactions) == 12 and dataset.noun == "song"
    assert list(dataset.items["text"]) == ["artist: Nova"] * 4
