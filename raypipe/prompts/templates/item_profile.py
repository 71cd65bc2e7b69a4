"""The profile of the users who like an item (RecLM R22, R23): from the profiles of its users, or,
for a cold-start item, from similar items and their profiles.
"""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.prompts.contract import Completion, Rejected, Rendered, Words
from raypipe.prompts.profiles import Profile, ProfileForm

STEM = "Profile of its users:"


def render(
    words: Words,
    line: str,
    users: Sequence[str],
    similar: Sequence[tuple[str, str]],
    form: ProfileForm,
) -> Rendered:
    """A prompt for one item's profile.

    Args:
        line: the item as text.
        users: profiles of some of its users.
        similar: similar items, each as text with its profile.
    """
    known = [f"Users who {words.verb} it: {' '.join(users)}"] if users else []
    if similar:
        listed = " ".join(f"{text}: {profile}" for text, profile in similar)
        known.append(f"Similar {words.nouns} and whom they are for: {listed}")
    about = " ".join([f"The {words.noun} {line}.", *known])
    return Rendered(f"{about} {STEM}", (), (), "form", form.pattern)


def parse(completion: Completion, form: ProfileForm) -> Profile | Rejected:
    """The profile in an answer, or why it is rejected."""
    return form.parse(completion.answer)
