"""The two-turn dialogue that the LLM is tuned on (RecLM R12 to R15).

The first turn asks for the profiles of a user and of similar users. The second turn asks whether
the user will interact with an item, which the LLM has to conclude from those profiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from raypipe.prompts.contract import Completion, Rejected, Words
from raypipe.prompts.templates.user_profile import SYSTEM, did

YES, NO = " Yes", " No"


class Turns(NamedTuple):
    """Both turns of a dialogue."""

    first_query: str
    first_response: str
    second_query: str
    second_response: str


def render(
    words: Words,
    histories: Sequence[Sequence[str]],
    profiles: Sequence[str],
    line: str,
    interacted: bool,
) -> Turns:
    """A dialogue about several users, who are numbered; the user in question is user 1.

    Args:
        histories: items of each user as text, oldest first.
        profiles: the profile of each user.
        line: the item in question as text.
        interacted: the true answer of the second turn.
    """
    told = "; ".join(f"user {n} {did(words, own)}" for n, own in enumerate(histories, 1))
    written = "".join(f" User {n}: {profile}" for n, profile in enumerate(profiles, 1))
    return Turns(
        f"{SYSTEM} Users: {told}. Profiles:",
        written,
        f" Will user 1 take {line}? Answer:",
        YES if interacted else NO,
    )


def parse(completion: Completion) -> bool | Rejected:
    """Whether the answer is Yes."""
    answer = completion.answer.strip().strip(".").lower()
    if answer in ("yes", "no"):
        return answer == "yes"
    return Rejected("not_an_option" if answer else "no_answer")
