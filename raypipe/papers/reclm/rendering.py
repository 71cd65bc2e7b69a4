"""Renders users and items into the prompts and dialogues of RecLM.

Training, inference and serving all build their prompts here, so that an LLM is used on the prompts
that it was tuned on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from raypipe.data.dataset import Dataset
from raypipe.papers.reclm.config import ProfileConfig
from raypipe.prompts.contract import Rendered, Words
from raypipe.prompts.templates import dialogue, item_profile, user_profile
from raypipe.schema import TEXT, TITLE

#: row numbers of items, oldest first
History = Sequence[int] | np.ndarray


def item_text(title: str, features: Sequence[str], text: str = "") -> str:
    """An item as text: "title" (feature, feature): text."""
    present = ", ".join(filter(None, features))
    line = f'"{title}" ({present})' if present else f'"{title}"'
    return f"{line}: {' '.join(text.split())}" if text else line


def item_texts(dataset: Dataset, text_length: int | None = None) -> list[str]:
    """All items as text, in catalogue order; `text_length` cuts the text after the title."""
    items = dataset.items
    features = item_features(dataset)
    texts = items[TEXT] if text_length is None else items[TEXT].str.slice(0, text_length)
    lines = []
    for number, (title, text) in enumerate(zip(items[TITLE], texts, strict=True)):
        lines.append(item_text(title, features[number], text))
    return lines


def item_features(dataset: Dataset) -> np.ndarray:
    """[I, F] the features of the items as strings."""
    frame: pd.DataFrame = dataset.items[list(dataset.item_features)]
    return frame.to_numpy(str)


class ProfilePrompts(NamedTuple):
    """Renders the prompts of one dataset.

    Attributes:
        words: how the dataset speaks of its items.
        lines: [I] each item as text, as prompts show it.
        titles: [I] their titles.
        features: [I, F] their features.
        config: what prompts show, and the bounds of a profile.
    """

    words: Words
    lines: list[str]
    titles: list[str]
    features: np.ndarray
    config: ProfileConfig

    @classmethod
    def of(cls, dataset: Dataset, config: ProfileConfig) -> ProfilePrompts:
        """The prompts of a dataset."""
        return cls(
            Words(dataset.noun, dataset.verb),
            item_texts(dataset, config.text),
            dataset.items[TITLE].tolist(),
            item_features(dataset),
            config,
        )

    def line(self, title: str, features: Sequence[str], text: str) -> str:
        """An item that is not in the catalogue, as prompts show it."""
        return item_text(title, features, text[: self.config.text])

    def newest(self, history: History) -> list[str]:
        """The newest items of a history as text, oldest first; as many as a prompt shows."""
        lines = []
        for item in history[-self.config.history :]:
            lines.append(self.lines[item])
        return lines

    def user(self, history: History, similar: Sequence[History]) -> Rendered:
        """A prompt for a user's profile; without similar users it is the one of distillation."""
        others = list(map(self.newest, similar[: self.config.neighbours]))
        return user_profile.render(
            self.words, self.newest(history), others, self.config.form("user")
        )

    def item(self, line: str, users: Sequence[str], similar: Sequence[tuple[int, str]]) -> Rendered:
        """A prompt for an item's profile.

        Args:
            line: the item as text, one of `lines` or the result of `line`.
            users: profiles of some of its users.
            similar: row number and profile of similar items.
        """
        shown = self.config.neighbours
        similar_lines = []
        for item, profile in similar[:shown]:
            similar_lines.append((self.lines[item], profile))
        return item_profile.render(
            self.words, line, users[:shown], similar_lines, self.config.form("item")
        )

    def dialogue(
        self, histories: Sequence[History], profiles: Sequence[str], item: int, interacted: bool
    ) -> dialogue.Turns:
        """Both turns of a dialogue about several users, the user in question first."""
        lines = list(map(self.newest, histories))
        return dialogue.render(self.words, lines, profiles, self.lines[item], interacted)
