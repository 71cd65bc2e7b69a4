"""The dialogue of two turns that the LLM is tuned on (RecLM R12 to R15): first the profiles of a user and of similar users, then
whether the user takes an item, which is to be judged from those profiles.
"""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.prompts.contract import Completion, Rejected, Words
from raypipe.prompts.templates.user_profile import SYSTEM, did

YES, NO = " Yes", " No"


def render(
    words: Words,
    histories: Sequence[Sequence[str]],
    profiles: Sequence[str],
    line: str,
    taken: bool,
) -> tuple[tuple[str, str], tuple[str, str]]:
    """(query, response) of both turns; users are named by number, the one in question first.

    Args:
        histories: items of each user as text, oldest first.
        profiles: the profile of each user.
        line: the item in question as text.
        taken: the truth.
    """
    told = "; ".join(f"user {n} {did(words, own)}" for n, own in enumerate(histories, 1))
    written = "".join(f" User {n}: {profile}" for n, profile in enumerate(profiles, 1))
    first = f"{SYSTEM} Users: {told}. Profiles:", written
    return first, (f" Will user 1 take {line}? Answer:", YES if taken else NO)


def parse(completion: Completion) -> bool | Rejected:
    """Whether the answer is Yes."""
    said = completion.answer.strip().strip(".").lower()
    if said in ("yes", "no"):
        return said == "yes"
    return Rejected("not_an_option" if said else "no_answer")
