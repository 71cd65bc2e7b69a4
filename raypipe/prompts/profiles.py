"""The form of a profile (RecLM RO17): "User identity: ..., ...; User interests: ..., ...".

Engines write profiles under a grammar, the regular expression `ProfileForm.pattern`. It bounds the
number and the length of the phrases, so no answer is malformed or cut off. Text from elsewhere goes
through `ProfileForm.parse`, which returns a profile or the reason why it rejects the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from raypipe.prompts.contract import Rejected

IDENTITY, INTERESTS = "User identity: ", "User interests: "
#: the first words of every answer, and the mark that ends it and occurs nowhere else in it
OPENING, END = f" {IDENTITY.rstrip()}", "."
_FORM = re.compile(
    r"user identity:(?P<identity>[^;]*);\s*user interests:(?P<interests>.*)",
    re.IGNORECASE | re.DOTALL,
)
#: characters that separate the parts of a profile, and so must not occur in a phrase
_MARKS = re.compile(r'[;:."\n\[\]]')


class Profile(NamedTuple):
    """Who a user is and what the user likes, as short phrases."""

    identities: tuple[str, ...]
    interests: tuple[str, ...]

    @property
    def text(self) -> str:
        """The profile in its form."""
        return f"{IDENTITY}{', '.join(self.identities)}; {INTERESTS}{', '.join(self.interests)}."


class ProfileForm(NamedTuple):
    """The bounds of a profile.

    Attributes:
        phrases: the largest number of identities, and of interests.
        phrase_length: the largest number of characters of a phrase.
    """

    phrases: int
    phrase_length: int

    @property
    def pattern(self) -> str:
        """The regular expression of an answer, including the space that precedes it."""
        phrase = f'[^ ,;:."\\n][^,;:."\\n]{{1,{self.phrase_length - 1}}}'
        more = f"(, {phrase}){{0,{self.phrases - 1}}}" if self.phrases > 1 else ""
        return f" {IDENTITY}{phrase}{more}; {INTERESTS}{phrase}{more}\\."

    def parse(self, answer: str) -> Profile | Rejected:
        """A profile from an answer: repeated phrases once, long phrases cut to whole words.

        Returns:
            The profile, or a rejection: no_answer, several (more than one profile), or malformed (a
            part is missing or empty).
        """
        if not answer.strip():
            return Rejected("no_answer")
        if answer.lower().count("user identity:") > 1:
            return Rejected("several")
        match = _FORM.search(answer)
        if match is None:
            return Rejected("malformed")
        identities = self._clean(match["identity"].split(","))
        interests = self._clean(match["interests"].split(","))
        if not identities or not interests:
            return Rejected("malformed")
        return Profile(identities, interests)

    def profile(self, identities: Iterable[str], interests: Iterable[str]) -> Profile:
        """A profile from phrases, within the bounds of the form."""
        return Profile(
            self._clean(", ".join(identities).split(",")),
            self._clean(", ".join(interests).split(",")),
        )

    def _clean(self, phrases: Iterable[str]) -> tuple[str, ...]:
        """The first different phrases of two characters or more, without separating marks."""
        clean: dict[str, None] = {}
        for phrase in phrases:
            words = " ".join(_MARKS.sub(" ", phrase).split())
            if len(words) > self.phrase_length:
                whole_words = words[: self.phrase_length + 1].rpartition(" ")[0]
                words = whole_words or words[: self.phrase_length]
            if len(words) > 1:
                clean[words] = None
        return tuple(clean)[: self.phrases]
