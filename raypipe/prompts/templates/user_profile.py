"""The profile of one user, from what the user did (RecLM R10, distillation) or beside that of similar users (R17, inference)."""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.prompts import profiles
from raypipe.prompts.contract import Completion, Rejected, Rendered, Words

#: what all prompts about several users begin with (R12)
SYSTEM = (
    "Users are judged in two steps: first each user's profile is written from behaviour; then what a user will do is foretold from "
    "users with similar profiles."
)
STEM = "Profile:"


def did(words: Words, lines: Sequence[str]) -> str:
    """What a user did, as a clause: read "A" (news), "B" (sports)."""
    return f"{words.verb} {', '.join(lines)}" if lines else f"{words.verb} nothing yet"


def render(
    words: Words,
    lines: Sequence[str],
    similar: Sequence[Sequence[str]],
    phrases: int,
    longest: int,
    user_id: str,
) -> Rendered:
    """A prompt for one profile.

    Args:
        lines: the user's items as text, oldest first.
        similar: those of each similar user; empty for distillation.
    """
    about = f"The user {did(words, lines)}."
    if similar:
        others = "; ".join(f"user {n} {did(words, own)}" for n, own in enumerate(similar, 2))
        about = f"{SYSTEM} {about} Similar users: {others}."
    return Rendered(f"{about} {STEM}", (), (user_id,), "form", profiles.pattern(phrases, longest))


def parse(completion: Completion, phrases: int, longest: int) -> profiles.Profile | Rejected:
    """The profile."""
    return profiles.parse(completion.answer, phrases, longest)
