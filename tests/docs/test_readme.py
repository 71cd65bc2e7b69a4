"""The README's links exist, and the README stays short."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_links_exist():
    targets = re.findall(r"\]\(([^)#]+)(?:#[\w-]*)?\)", README)
    local = [target for target in targets if not target.startswith(("http://", "https://"))]
    assert local, "the README links to nothing"
    for target in local:
        assert (ROOT / target).exists(), target


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120
