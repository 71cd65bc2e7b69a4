"""Fill the marker `<!-- python api -->` with signatures and docstrings of the public names."""

from __future__ import annotations

import inspect
import re
from typing import Any

import raypipe

MARKER = "<!-- python api -->"
#: methods of a class that are shown; of other classes all public ones are
METHODS = {"Dataset": ["from_frames"]}
#: classes that users do not construct directly
HIDDEN = {"raypipe.Dataset", "raypipe.Run"}


def signature_of(value: Any) -> str:
    """A signature without the quotes of its annotations."""
    text = str(inspect.signature(value))
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)
    text = re.sub(r"ForwardRef\('([^']*)'\)", r"\1", text)
    text = re.sub(r"functools\.partial\(<built-in function (\w+)>[^)]*\)", r"\1", text)
    return text.replace("(self, ", "(").replace("(self)", "()")


def entry(name: str, value: Any, heading: str) -> str:
    """A heading, the signature and the docstring of a function, method or class."""
    text = inspect.getdoc(value) or ""
    if name not in HIDDEN:
        text = f"{name}{signature_of(value)}\n\n{text}"
    return f"{heading} `{name}`\n\n```text\n{text}\n```"


def reference() -> str:
    """All public names."""
    parts = []
    for name in getattr(raypipe, "__all__", ()):
        value = getattr(raypipe, name)
        parts.append(entry(f"raypipe.{name}", value, "##"))
        if not inspect.isclass(value):
            continue
        methods = METHODS.get(name) or [m for m in vars(value) if not m.startswith("_")]
        for method in methods:
            member = getattr(value, method)
            if inspect.isroutine(member) and method in vars(value):
                parts.append(entry(f"{name}.{method}", member, "###"))
    return "\n\n".join(parts)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this for each page."""
    return markdown.replace(MARKER, reference()) if MARKER in markdown else markdown
