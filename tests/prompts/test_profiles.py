"""The form of a profile."""

import re

import pytest

from raypipe.prompts.contract import Completion, Rejected
from raypipe.prompts.profiles import ProfileForm
from raypipe.prompts.templates import item_profile, user_profile


@pytest.mark.parametrize("phrases", [1, 3, 5])
def test_a_parsed_profile_fits_the_grammar_and_parses_to_itself(phrases):
    answer = (
        "user identity: Sports fan,  sports fan, Sports fan, a very long identity on; "
        "User interests: U.S. news, b, golf."
    )
    profile = ProfileForm(phrases, 20).parse(answer)
    assert (
        re.fullmatch(ProfileForm(phrases, 20).pattern, f" {profile.text}")
        and ProfileForm(phrases, 20).parse(profile.text) == profile
    )
    assert profile.identities == ("Sports fan", "sports fan", "a very long identity")[:phrases]
    assert profile.interests == ("U S news", "golf")[:phrases], (
        "phrases of one character are dropped"
    )


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("", "no_answer"),
        (" . ", "malformed"),
        ("User identity: a fan.", "malformed"),
        ("User identity: ; User interests: .", "malformed"),
        (
            "User identity: ab; User interests: cd. User identity: ef; User interests: gh.",
            "several",
        ),
    ],
)
def test_malformed_answers_are_rejected_by_kind(answer, kind):
    for template in (user_profile, item_profile):
        assert template.parse(Completion(answer, ()), ProfileForm(3, 32)) == Rejected(kind)
