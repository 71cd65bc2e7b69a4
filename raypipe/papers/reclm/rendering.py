"""From users and items to prompts and dialogues: the one place that puts them into words, for tuning and inference alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from raypipe.data.dataset import Dataset
from raypipe.papers.reclm.config import ProfileConfig
from raypipe.prompts.contract import Rendered, Words
from raypipe.prompts.templates import dialogue, item_profile, user_profile
from raypipe.schema import TEXT, TITLE


def line(title: str, features: Sequence[str], text: str = "") -> str:
    """An item as text: "title" (feature, feature): text."""
    known = f" ({', '.join(f for f in features if f)})" if any(features) else ""
    return f'"{title}"{known}' + (f": {' '.join(text.split())}" if text else "")


#: numbers of items, oldest first
History = Sequence[int] | np.ndarray


class Book(NamedTuple):
    """What wording needs of a dataset.

    Attributes:
        lines: each item as text, in catalogue order.
        titles: their titles.
        features: [I, F] their features.
    """

    words: Words
    lines: list[str]
    titles: list[str]
    features: np.ndarray
    config: ProfileConfig

    @classmethod
    def of(cls, dataset: Dataset, config: ProfileConfig) -> Book:
        items = dataset.items
        features = items[list(dataset.item_features)].to_numpy(str)
        texts = items[TEXT].str.slice(0, config.text) if config.text else [""] * len(items)
        lines = [line(t, f, x) for t, f, x in zip(items[TITLE], features, texts, strict=True)]
        return cls(
            Words(dataset.noun, dataset.verb), lines, items[TITLE].tolist(), features, config
        )

    def last(self, history: History) -> list[str]:
        """The newest items of a history as text, oldest first; as many as a prompt shows."""
        return [self.lines[i] for i in history[-self.config.history :]]

    def user(self, history: History, similar: Sequence[History], name: str) -> Rendered:
        """A prompt for a user's profile; without similar users it is that of distillation."""
        own = self.config
        others = [self.last(h) for h in similar[: own.neighbours]]
        return user_profile.render(
            self.words, self.last(history), others, own.user_phrases, own.phrase, name
        )

    def item(
        self, item: int | str, users: Sequence[str], similar: Sequence[tuple[int, str]], name: str
    ) -> Rendered:
        """A prompt for an item's profile.

        Args:
            item: its number, or the line of an item that the catalogue does not have.
            users: profiles of those who took it.
            similar: number and profile of similar items.
        """
        own = self.config
        near = [(self.lines[i], profile) for i, profile in similar[: own.neighbours]]
        text = item if isinstance(item, str) else self.lines[item]
        return item_profile.render(
            self.words, text, users[: own.neighbours], near, own.item_phrases, own.phrase, name
        )

    def dialogue(
        self, histories: Sequence[History], profiles: Sequence[str], item: int, taken: bool
    ) -> tuple[tuple[str, str], tuple[str, str]]:
        """Both turns, the user in question first."""
        return dialogue.render(
            self.words, [self.last(h) for h in histories], profiles, self.lines[item], taken
        )
