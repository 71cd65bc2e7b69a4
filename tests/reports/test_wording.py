"""Numbers and lists as English text."""

import pytest

from raypipe.reports.gains import Comparison, Gain
from raypipe.reports.wording import count, duration, listed, signed_percent


@pytest.mark.parametrize(
    "parts,text", [([], ""), (["a"], "a"), (["a", "b"], "a or b"), ([*"abc"], "a, b or c")]
)
def test_lists(parts, text):
    assert listed(parts, "or") == text


def test_counts():
    assert [count(1, "seed"), count(1200, "seed")] == ["1 seed", "1,200 seeds"]


@pytest.mark.parametrize(
    "seconds,text", [(1, "1 second"), (89, "89 seconds"), (90, "2 minutes"), (9000, "2.5 hours")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_value_that_rounds_to_zero_has_no_sign():
    assert [signed_percent(share) for share in (0.1, -0.0004, 0.0)] == ["+10.0%", "0.0%", "0.0%"]


@pytest.mark.parametrize(
    "gains,verdict",
    [
        ([(0.1, 0.01), (0.1, 0.9)], "gain"),
        ([(-0.1, 0.01), (0.05, 0.9)], "loss"),
        ([(-0.1, 0.01), (0.2, 0.01)], "mixed"),
        ([(0.1, 0.01), (-0.3, 0.9)], "mixed"),
        ([(0.1, 0.06)], "none"),
        ([(0.1, None)], "untested"),
    ],
)
def test_a_verdict_needs_significant_results_that_agree_with_the_mean(gains, verdict):
    assert Comparison([Gain(*gain) for gain in gains]).verdict == verdict
