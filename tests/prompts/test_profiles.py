"""The form of a profile."""

import re

import pytest

from raypipe.prompts.contract import Completion, Rejected
from raypipe.prompts.profiles import ProfileForm
from raypipe.prompts.templates import item_profile, user_profile


@pytest.mark.parametrize("phrases", [1, 3, 5])
def test_what_is_parsed_fits_the_grammar_and_is_parsed_to_itself(phrases):
    answer = (
        "user identity: Sports fan,  sports fan, Sports fan, a very long identity on; "
        "User interests: U.S. news, b, golf."
    )
    got = ProfileForm(phrases, 20).parse(answer)
    assert (
        re.fullmatch(ProfileForm(phrases, 20).pattern, f" {got.text}")
        and ProfileForm(phrases, 20).parse(got.text) == got
    )
    assert got.identities == ("Sports fan", "sports fan", "a very long identity")[:phrases]
    assert got.interests == ("U S news", "golf")[:phrases], "phrases of one character are dropped"


@pytest.mark.parametrize(
    ("said", "kind"),
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
def test_what_is_no_profile_is_rejected_by_kind(said, kind):
    for template in (user_profile, item_profile):
        assert template.parse(Completion(said, ()), ProfileForm(3, 32)) == Rejected(kind)
