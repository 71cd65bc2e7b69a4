"""The documentation builds strictly: no broken link or anchor, no page outside the navigation."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_site_builds_strictly(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    for page in tmp_path.rglob("*.html"):
        assert (
            "<!-- settings:" not in page.read_text() and "<!-- prompts -->" not in page.read_text()
        )
    settings = (tmp_path / "reference" / "settings-llama4rec.html").read_text()
    assert "llm.tune.learning_rate" in settings and "aggregation.alpha_1" in settings
