"""The profile of one user: from the user's own history (RecLM R10, distillation), or together with
the histories of similar users (R17, inference).
"""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.prompts.contract import Completion, Rejected, Rendered, Words
from raypipe.prompts.profiles import Profile, ProfileForm

STEM = "Write a short profile of the user. Profile:"


def system(words: Words) -> str:
    """What all prompts about several users begin with (R12)."""
    return (
        f"First describe each user in a short profile, based on the {words.nouns} they "
        f"{words.verb}. Then use the profiles of similar users to predict which {words.nouns} a "
        f"user will {words.verb_base}."
    )


def history(words: Words, user: str, lines: Sequence[str]) -> str:
    """The sentence about a user's history: The user watched these films, oldest first: ....

    Args:
        user: the subject of the sentence.
        lines: the user's items as text, oldest first.
    """
    if not lines:
        return f"{user} has no history yet."
    if len(lines) == 1:
        return f"{user} {words.verb} this {words.noun}: {lines[0]}."
    return f"{user} {words.verb} these {words.nouns}, oldest first: {', '.join(lines)}."


def render(
    words: Words, lines: Sequence[str], similar: Sequence[Sequence[str]], form: ProfileForm
) -> Rendered:
    """A prompt for one profile.

    Args:
        lines: the user's items as text, oldest first.
        similar: the items of each similar user as text; empty for distillation.
    """
    sentences = [history(words, "The user", lines)]
    if similar:
        sentences = [system(words), *sentences, "Similar users:"]
        for number, other in enumerate(similar, 2):
            sentences.append(history(words, f"User {number}", other))
    return Rendered(" ".join([*sentences, STEM]), (), (), "form", form.pattern)


def parse(completion: Completion, form: ProfileForm) -> Profile | Rejected:
    """The profile in an answer, or why it is rejected."""
    return form.parse(completion.answer)
