"""The rule that writes profiles without an LLM, from the items' features and titles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from raypipe.prompts.profiles import Profile, ProfileForm

#: words of a title that a profile may name
WORDS_PER_TITLE = 3
_WORD = re.compile(r"[^\W\d_]{4,}")


class Rule:
    """Writes profiles for the items of one dataset.

    Args:
        titles: [I] the titles of the items.
        features: [I, F] their features.
    """

    def __init__(self, titles: Sequence[str], features: np.ndarray) -> None:
        self.features = features
        self.title_words = list(map(_words, titles))
        self.frequency: Counter[str] = Counter()
        for words in self.title_words:
            self.frequency.update(words)

    def user(self, history: Iterable[int], form: ProfileForm) -> Profile:
        """The most frequent features and distinctive words of a user's items."""
        identities: Counter[str] = Counter()
        interests: Counter[str] = Counter()
        for item in history:
            identities.update(self._fans(item))
            interests.update(self._distinctive_words(item))
        return form.profile(_by_frequency(identities), _by_frequency(interests))

    def item(self, item: int, user_profiles: Sequence[Profile], form: ProfileForm) -> Profile:
        """The item's own features and words, then the most frequent phrases of its users."""
        # the item's own phrases come first: they count more than all users together
        weight = len(user_profiles) + 1
        identities = Counter(dict.fromkeys(self._fans(item), weight))
        interests = Counter(dict.fromkeys(self._distinctive_words(item), weight))
        for profile in user_profiles:
            identities.update(profile.identities)
            interests.update(profile.interests)
        return form.profile(_by_frequency(identities), _by_frequency(interests))

    def _fans(self, item: int) -> list[str]:
        return [f"{feature} fan" for feature in self.features[item] if feature]

    def _distinctive_words(self, item: int) -> list[str]:
        """The rarest words of a title among those that 2 to a tenth of the titles share."""
        most = max(2, len(self.title_words) // 10)
        shared = []
        for word in self.title_words[item]:
            if 1 < self.frequency[word] <= most:
                shared.append(word)
        return sorted(shared, key=lambda word: (self.frequency[word], word))[:WORDS_PER_TITLE]


def _words(title: str) -> list[str]:
    return sorted(set(_WORD.findall(title.lower())))


def _by_frequency(counts: Counter[str]) -> list[str]:
    """Phrases, the most frequent first and equally frequent ones in alphabetical order."""
    order = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [phrase for phrase, _ in order] or ["anything"]
