"""The profile of the users who like an item (RecLM R22, R23): from the profiles of its users, or,
for a cold-start item, from similar items and their profiles.
"""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.prompts.contract import Completion, Rejected, Rendered, Words
from raypipe.prompts.profiles import Profile, ProfileForm


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
    sentences = [f"{words.noun[:1].upper()}{words.noun[1:]}: {line}."]
    if users:
        sentences.append(f"Profiles of users who {words.verb} this {words.noun}:")
        sentences += users
    if similar:
        sentences.append(f"Similar {words.nouns}, each with a profile of its users:")
        for similar_line, profile in similar:
            sentences.append(f"{similar_line}: {profile}")
    sentences.append(
        f"Write a short profile of the users who would like this {words.noun}. Profile:"
    )
    return Rendered(" ".join(sentences), (), (), "form", form.pattern)


def parse(completion: Completion, form: ProfileForm) -> Profile | Rejected:
    """The profile in an answer, or why it is rejected."""
    return form.parse(completion.answer)
