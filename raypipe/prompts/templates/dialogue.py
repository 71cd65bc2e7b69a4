"""The two-turn dialogue that the LLM is tuned on (RecLM R12 to R15).

The first turn asks for the profiles of a user and of similar users. The second turn asks whether
the user will interact with an item, which the LLM has to conclude from those profiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from raypipe.prompts.contract import Completion, Rejected, Words
from raypipe.prompts.templates.user_profile import history, system

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
    query, response = [system(words)], ""
    for number, lines in enumerate(histories, 1):
        query.append(history(words, f"User {number}", lines))
    query.append("Write a short profile of each user. Profiles:")
    for number, profile in enumerate(profiles, 1):
        response += f" User {number}: {profile}"
    question = f" Will user 1 {words.verb_base} the {words.noun} {line}? Answer:"
    return Turns(" ".join(query), response, question, YES if interacted else NO)


def parse(completion: Completion) -> bool | Rejected:
    """Whether the answer is Yes."""
    answer = completion.answer.strip().strip(".").lower()
    if answer in ("yes", "no"):
        return answer == "yes"
    return Rejected("not_an_option" if answer else "no_answer")
