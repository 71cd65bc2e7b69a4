"""Pages from templates, and the parts of them that the reports of all papers share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from raypipe.evaluation import significance


def page(folder: Path, template: str, **facts: Any) -> str:
    """The page of FOLDER/TEMPLATE.html.j2, with all that it shows in itself; it may include what lies beside this file."""
    environment = jinja2.Environment(
        autoescape=True, loader=jinja2.FileSystemLoader([folder, Path(__file__).parent])
    )
    environment.globals |= {
        "caution": significance.single_seed_caution,
        "printed": significance.format_p,
    }
    return environment.get_template(f"{template}.html.j2").render(**facts)


def cell_text(cell: dict[str, Any], spread: bool) -> str:
    """Mean, spread, star, and in brackets the published value."""
    text = (
        f"{cell['mean']:.4f}"
        + (f" ± {cell['std']:.4f}" if spread else "")
        + ("*" if cell["star"] else "")
    )
    return text + (f" ({cell['published']:.4f})" if cell["published"] is not None else "")
