"""HTML pages from templates, with the parts that the reports of all papers share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jinja2

from raypipe.evaluation import significance
from raypipe.reports import wording


def page(folder: Path, template: str, facts: Mapping[str, object]) -> str:
    """Render FOLDER/TEMPLATE.html.j2 as a self-contained page.

    Args:
        folder: the paper's templates. They may include and import the templates beside this file.
        template: name of the template, without its endings.
        facts: what the template shows, by name.
    """
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "caution": significance.single_seed_caution,
        "printed": significance.format_p,
        "signed_percent": wording.signed_percent,
    }
    return environment.get_template(f"{template}.html.j2").render(facts)
