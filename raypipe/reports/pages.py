"""Pages from the templates beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from raypipe.evaluation import significance


def page(template: str, **facts: Any) -> str:
    """The page of TEMPLATE.html.j2, with all that it shows in itself."""
    environment = jinja2.Environment(autoescape=True, loader=jinja2.FileSystemLoader(Path(__file__).parent))
    environment.globals |= {"caution": significance.caution, "printed": significance.printed}
    return environment.get_template(f"{template}.html.j2").render(**facts)
