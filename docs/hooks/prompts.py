"""Fill the marker `<!-- prompts -->` with every prompt template and an example from toy data.

A template without an example here stops the build.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import pandas as pd

from raypipe import plugins
from raypipe.data.sources import toy
from raypipe.papers.reclm.config import ProfileConfig
from raypipe.papers.reclm.rendering import item_text
from raypipe.prompts import templates
from raypipe.prompts.contract import Person, Rendered, Words
from raypipe.prompts.templates import (
    attribute,
    dialogue,
    item_profile,
    judge,
    listwise_constrained,
    listwise_freeform,
    listwise_logprobs,
    pair,
    pick,
    pointwise,
    user_profile,
)

MARKER = "<!-- prompts -->"
RAW = toy.read(None, toy.Options())
ITEMS = RAW.items.to_pandas().set_index("item_id")
WORDS = Words(RAW.noun, RAW.verb)
PROFILE = "User identity: romance viewer; User interests: romance films, 1990s films."
OTHER_PROFILE = "User identity: comedy viewer; User interests: comedy films, 2000s films."
LEVELS = (1, 2, 3, 4, 5)

Example = tuple[str, Rendered]


def rows(user: str, count: int) -> pd.DataFrame:
    """The last interactions of a toy user with the titles of their items, oldest first."""
    log = RAW.interactions.to_pandas()
    own = log[log["user_id"] == user].sort_values("timestamp").tail(count)
    return own.assign(title=ITEMS.loc[own["item_id"], "title"].to_numpy())


def person(augmented: bool) -> Person:
    """A toy user, with a similar user and a hint where the prompt is augmented."""
    own, similar = rows("u0000", 4), rows("u0001", 3)
    if not augmented:
        return Person(own["title"].tolist(), own["rating"].tolist())
    return Person(
        own["title"].tolist(),
        own["rating"].tolist(),
        similar["title"].tolist(),
        similar["rating"].tolist(),
        candidates(3)[0],
        3.6,
    )


def candidates(count: int) -> tuple[list[str], list[str]]:
    """(titles, item ids) of the first toy items of different series."""
    chosen = ITEMS.iloc[: 4 * count : 4]
    return chosen["title"].tolist(), chosen.index.tolist()


def line(item: int) -> str:
    """A toy item as RecLM's prompts name it: title and features."""
    row = ITEMS.iloc[item]
    return item_text(row["title"], [row["genre"], row["decade"]])


def listwise(template: Any, style: str | None) -> list[Example]:
    """A template that ranks or picks among candidates, plain and augmented."""
    titles, ids = candidates(4)
    rest = (style,) if style else ()
    plain = template.render(WORDS, person(False), titles, ids, *rest)
    augmented = template.render(WORDS, person(True), titles, ids, *rest)
    return [("Without prompt augmentation", plain), ("With prompt augmentation", augmented)]


def by_style(template: Any, count: int) -> list[Example]:
    """A template with candidates, as the embedded LLM reads it and as others do."""
    titles, ids = candidates(count)
    shown = {"title": "The embedded LLM (style `title`)", "label": "Other LLMs (style `label`)"}
    examples = []
    for style, caption in shown.items():
        examples.append((caption, template.render(WORDS, person(False), titles, ids, style)))
    return examples


def attribute_examples() -> list[Example]:
    """A missing director, after two worked examples."""
    known = [
        (ITEMS.iloc[i]["title"], ITEMS.iloc[i]["text"], ITEMS.iloc[i]["director"]) for i in (0, 1)
    ]
    missing = ITEMS.iloc[2]
    item = (missing["title"], missing["text"], ITEMS.index[2])
    rendered = attribute.render(known, item, "director", ["Moreau"])
    return [("A missing director", rendered)]


def dialogue_examples() -> list[Example]:
    """Both turns of a dialogue, each with its true answer as the only option."""
    histories = [[line(0), line(4)], [line(0), line(8)]]
    turns = dialogue.render(WORDS, histories, [PROFILE, OTHER_PROFILE], line(8), False)
    first = Rendered(turns.first_query, (turns.first_response,), ())
    second = Rendered(turns.second_query, (turns.second_response,), ())
    return [("First turn", first), ("Second turn", second)]


def user_examples() -> list[Example]:
    """A user's profile, alone and beside a similar user."""
    own, similar = [line(0), line(4)], [[line(0), line(8)]]
    form = ProfileConfig().form("user")
    return [
        ("For distillation", user_profile.render(WORDS, own, [], form)),
        ("With similar users", user_profile.render(WORDS, own, similar, form)),
    ]


def item_examples() -> list[Example]:
    """An item with users, and an item without."""
    form = ProfileConfig().form("item")
    warm = item_profile.render(WORDS, line(0), [PROFILE], [], form)
    cold = item_profile.render(WORDS, line(0), [], [(line(1), PROFILE)], form)
    return [("An item with interactions", warm), ("A cold-start item", cold)]


def pointwise_examples() -> list[Example]:
    """A rating, plain and augmented."""
    title = candidates(1)[0][0]
    return [
        ("Without prompt augmentation", pointwise.render(WORDS, person(False), title, LEVELS)),
        ("With prompt augmentation", pointwise.render(WORDS, person(True), title, LEVELS)),
    ]


def judge_examples() -> list[Example]:
    """A generated director, with the truth."""
    item = ITEMS.iloc[0]
    claim = judge.Claim("director", "Moreau", "Moreau")
    rendered = judge.render("film", item["title"], item["text"], claim)
    return [("A generated director", rendered)]


EXAMPLES: dict[str, Callable[[], list[Example]]] = {
    "attribute": attribute_examples,
    "dialogue": dialogue_examples,
    "item_profile": item_examples,
    "judge": judge_examples,
    "listwise_constrained": lambda: listwise(listwise_constrained, "label")[1:],
    "listwise_freeform": lambda: listwise(listwise_freeform, None)[1:],
    "listwise_logprobs": lambda: (
        listwise(listwise_logprobs, "title") + by_style(listwise_logprobs, 4)[1:]
    ),
    "pair": lambda: by_style(pair, 2),
    "pick": lambda: by_style(pick, 4),
    "pointwise": pointwise_examples,
    "user_profile": user_examples,
}


def block(text: str) -> str:
    """A text with its line breaks, wrapped by the browser."""
    return f'<pre class="prompt">{html.escape(text.strip())}</pre>'


def shown(example: Example) -> str:
    """An example as Markdown: the prompt, its mode, and what may follow it."""
    caption, rendered = example
    if rendered.options and not rendered.payload:  # a tuning example with its true answer
        answer = block(rendered.options[0])
        return f"{caption}:\n\n{block(rendered.text)}\n\nTrue answer:\n\n{answer}"
    parts = [f"{caption}, mode `{rendered.mode}`:", block(rendered.text)]
    if rendered.options:
        options = "\n".join(option.strip() for option in rendered.options)
        parts += ["Options:", block(options)]
    if rendered.pattern:
        parts += ["Regular expression of the answer:", block(rendered.pattern)]
    return "\n\n".join(parts)


def reference() -> str:
    """All templates, one heading each."""
    parts = []
    for name in plugins.names(templates):
        module = plugins.find(templates, name, "prompt")
        summary = " ".join((module.__doc__ or "").split("\n\n")[0].split())
        examples = "\n\n".join(shown(example) for example in EXAMPLES[name]())
        parts.append(f"## `{name}`\n\n{summary}\n\n{examples}")
    return "\n\n".join(parts)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this for each page."""
    return markdown.replace(MARKER, reference()) if MARKER in markdown else markdown
