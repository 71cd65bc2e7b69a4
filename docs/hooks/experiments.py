"""List the pages of experiments in the navigation and at the marker `<!-- experiments -->`.

The newest page comes first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "experiments"
MARKER = "<!-- experiments -->"


def pages() -> list[tuple[str, str]]:
    """(title, file name) of each page, newest first; the title begins with the date."""
    found = []
    for path in sorted(FOLDER.glob("*.md"), reverse=True):
        title = path.read_text().partition("\n")[0].removeprefix("# ")
        date = path.name[:10]
        found.append((title if title.startswith(date) else f"{date}: {title}", path.name))
    return found


def on_config(config: Any) -> Any:
    """MkDocs calls this before it reads the navigation."""
    for entry in config.nav:
        if "Results" in entry:
            listed = [{title: f"experiments/{name}"} for title, name in pages()]
            entry["Results"] = [*entry["Results"], {"Experiments": listed}]
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this for each page."""
    lines = [f"- [{title}](experiments/{name})" for title, name in pages()]
    return markdown.replace(MARKER, "\n".join(lines))
