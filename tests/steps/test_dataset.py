"""Data files are known by their content."""

from raypipe.papers.llama4rec import config
from raypipe.steps.dataset import fingerprint


def test_data_files_are_known_by_their_content(tmp_path):
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "items.csv").write_text("item_id,title\n1,A\n")
    one, two = (
        config.load(None, {"data.name": "folder", "data.dir": str(tmp_path / place)}).data
        for place in ("one", "two")
    )
    assert fingerprint(one) == fingerprint(two) and fingerprint(config.load("toy").data) is None
    (tmp_path / "two" / "items.csv").write_text("item_id,title\n1,B\n")
    assert fingerprint(one) != fingerprint(two)
