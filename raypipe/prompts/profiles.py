"""The form of a profile (RecLM RO17): "User identity: ..., ...; User interests: ..., ...".

Engines write it under the grammar of `pattern`, whose phrases and their number are bounded, so that no answer can be malformed or
cut off. What comes from elsewhere is parsed by `parse`, which answers or names why it rejects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from raypipe.prompts.contract import Rejected

IDENTITY, INTERESTS = "User identity: ", "User interests: "
#: what every answer begins with, and the mark that ends it and stands nowhere else in it
OPENING, END = f" {IDENTITY.rstrip()}", "."
_FORM = re.compile(
    r"user identity:(?P<identity>[^;]*);\s*user interests:(?P<interests>.*)",
    re.IGNORECASE | re.DOTALL,
)


class Profile(NamedTuple):
    """Who a user is, and what a user likes, as short phrases."""

    identities: tuple[str, ...]
    interests: tuple[str, ...]

    @property
    def text(self) -> str:
        """The profile as it is written."""
        return f"{IDENTITY}{', '.join(self.identities)}; {INTERESTS}{', '.join(self.interests)}."


def phrase(longest: int) -> str:
    """The regular expression of a phrase of 2 to `longest` characters, without the marks of the form."""
    return f'[^ ,;:."\\n][^,;:."\\n]{{1,{longest - 1}}}'


def pattern(phrases: int, longest: int) -> str:
    """The regular expression of an answer, with the space before it: 1 to `phrases` identities, and as many interests.

    Args:
        longest: characters of a phrase.
    """
    one = phrase(longest)
    some = f"{one}(, {one}){{0,{phrases - 1}}}" if phrases > 1 else one
    return f" {IDENTITY}{some}; {INTERESTS}{some}\\."


def parse(answer: str, phrases: int, longest: int) -> Profile | Rejected:
    """A profile from an answer: equal phrases once, at most `phrases` of each kind, each cut to whole words.

    Rejected as no_answer, several (more than one profile), or malformed (a part is missing or empty).
    """
    if not answer.strip():
        return Rejected("no_answer")
    if answer.lower().count("user identity:") > 1:
        return Rejected("several")
    found = _FORM.search(answer)
    if found is None:
        return Rejected("malformed")
    parts = [_phrases(found[name], phrases, longest) for name in ("identity", "interests")]
    if not all(parts):
        return Rejected("malformed")
    return Profile(*parts)


def made(
    identities: Iterable[str], interests: Iterable[str], phrases: int, longest: int
) -> Profile:
    """A profile from phrases, in its form."""
    return Profile(
        *(_phrases(", ".join(words), phrases, longest) for words in (identities, interests))
    )


def _phrases(listed: str, most: int, longest: int) -> tuple[str, ...]:
    clean = (" ".join(re.sub(r'[;:."\n\[\]]', " ", one).split()) for one in listed.split(","))
    cut = (
        one if len(one) <= longest else one[: longest + 1].rpartition(" ")[0] or one[:longest]
        for one in clean
    )
    return tuple(dict.fromkeys(one for one in cut if len(one) > 1))[:most]
