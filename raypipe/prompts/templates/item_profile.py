"""The users that an item is for (RecLM R22, R23): from the profiles of those who took it, or, for an item that nobody took yet,
from similar items and whom they are for.
"""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.prompts import profiles
from raypipe.prompts.contract import Completion, Rejected, Rendered, Words

STEM = "Profile of its users:"


def render(
    words: Words,
    line: str,
    users: Sequence[str],
    similar: Sequence[tuple[str, str]],
    phrases: int,
    longest: int,
    item_id: str,
) -> Rendered:
    """A prompt for one item's profile.

    Args:
        line: the item as text.
        users: profiles of users who took it.
        similar: (item as text, its profile) of similar items.
    """
    known = [f"Users who {words.verb} it: {' '.join(users)}"] if users else []
    if similar:
        listed = " ".join(f"{text}: {profile}" for text, profile in similar)
        known.append(f"Similar {words.nouns} and whom they are for: {listed}")
    about = " ".join([f"The {words.noun} {line}.", *known])
    return Rendered(f"{about} {STEM}", (), (item_id,), "form", profiles.pattern(phrases, longest))


def parse(completion: Completion, phrases: int, longest: int) -> profiles.Profile | Rejected:
    """The profile."""
    return profiles.parse(completion.answer, phrases, longest)
