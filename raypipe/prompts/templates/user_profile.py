"""The profile of one user: from the user's own history (RecLM R10, distillation), or together with
the histories of similar users (R17, inference).
"""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.prompts.contract import Completion, Rejected, Rendered, Words
from raypipe.prompts.profiles import Profile, ProfileForm

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
    words: Words, lines: Sequence[str], similar: Sequence[Sequence[str]], form: ProfileForm
) -> Rendered:
    """A prompt for one profile.

    Args:
        lines: the user's items as text, oldest first.
        similar: the items of each similar user as text; empty for distillation.
    """
    about = f"The user {did(words, lines)}."
    if similar:
        others = "; ".join(f"user {n} {did(words, own)}" for n, own in enumerate(similar, 2))
        about = f"{SYSTEM} {about} Similar users: {others}."
    return Rendered(f"{about} {STEM}", (), (), "form", form.pattern)


def parse(completion: Completion, form: ProfileForm) -> Profile | Rejected:
    """The profile in an answer, or why it is rejected."""
    return form.parse(completion.answer)
