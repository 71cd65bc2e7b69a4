"""The answer at the head of a report claims what the tests support, and no more."""

import pytest

from raypipe.papers.llama4rec.report.answer import answer
from raypipe.papers.llama4rec.report.result_tables import task_tables

from .conftest import result_rows, thirds


def text(report, *groups):
    rows = [row for group in groups for row in group]
    return answer(task_tables(rows), report).text


GAIN = result_rows("rating", "deepfm", "RMSE", (1.0, 1.2, 0.9), p=0.01, base_p=0.01)
LOSS = result_rows("direct", "mf", "N@5", (0.4, 0.1, 0.3), p=0.01, base_p=0.01)
NONE = result_rows("sequential", "sasrec", "N@5", (0.2, 0.1, 0.21), p=0.6, base_p=0.6)


def test_a_significant_gain_a_loss_and_no_difference(report):
    assert text(report, GAIN, LOSS, NONE).startswith(
        "On ml, compared with the backbone alone (Base), the LLM improves rating prediction by"
        " 10.0% (statistically significant); it worsens direct"
        " recommendation by 25.0% (statistically significant); it"
        " makes no statistically significant difference to sequential recommendation (+5.0%)."
    )


def test_where_nothing_is_significant_the_answer_says_what_the_tests_can_miss(report):
    # 0.02 of a better baseline of 0.2, and of 0.4 for the other backbone
    other = result_rows("sequential", "cl4srec", "N@5", (0.2, 0.4, 0.3), p=0.6, base_p=0.6)
    for row in other:
        row["n_users"] = 1200
    other[-1]["against"] = "ift"
    sentence = "the tests can miss even a true gain over the better of Base and IFT of"
    assert f"With 9 to 1,200 test users, {sentence} 5% of N@5 in sequential" in text(
        report, NONE, other
    )
    assert f"With 9 test users, {sentence} 10% of N@5 in sequential" in text(report, GAIN, NONE)
    without_ift = [row for row in NONE if row["variant"] != "ift"]
    assert "can miss even a true gain over Base of 10% of N@5" in text(report, without_ift)
    assert "can miss" not in text(report, GAIN, LOSS)


def test_gains_and_losses_in_one_task_are_mixed(report):
    other = result_rows("direct", "light_gcn", "N@5", (0.2, 0.1, 0.4), p=0.01, base_p=0.01)
    assert (
        "has mixed effects on direct recommendation (+37.5% on average, significantly better in 1"
        " and worse in 1 of 2 results)" in text(report, LOSS, other)
    )


def test_the_answer_gives_the_number_of_significant_results(report):
    other = result_rows("rating", "nfm", "RMSE", (1.0, 1.2, 0.98), p=0.9, base_p=0.9)
    assert "by 6.0% on average (statistically significant in 1 of 2 results)" in text(
        report, GAIN, other
    )
    assert "(statistically significant in all 2 results)" in text(
        report, GAIN, result_rows("rating", "nfm", "RMSE", (1.0, 1.2, 0.9), p=0.01, base_p=0.01)
    )


def test_the_answer_names_what_was_not_tested(report):
    older = result_rows("direct", "mf", "N@5", (0.2, 0.25, 0.3), against="ift", p=0.01)
    assert (
        "has effects that were not tested for significance on direct recommendation (+50.0%)"
        in text(report, older)
    )


def test_the_answer_names_a_missing_task(report):
    assert "This run did not measure direct recommendation or sequential" in text(report, GAIN)
    assert "did not measure" not in text(report, GAIN, LOSS, NONE)


def test_one_seed_gives_a_caution(report):
    assert "one seed" not in text(report, GAIN)
    report["run"]["seeds"] = 1
    assert "The run has one seed, so another training may give" in text(report, GAIN)


@pytest.mark.parametrize(
    "difference,p,sentence",
    [
        (0.1, 0.01, "Users with short histories gain significantly more in rating prediction"),
        (-0.1, 0.01, "Users with short histories gain significantly less in rating prediction"),
        (0.1, 0.5, "The gain does not differ significantly between users with short and long"),
    ],
)
def test_the_answer_says_which_users_gain_more(report, difference, p, sentence):
    rows = result_rows("rating", "deepfm", "RMSE", (1.0, 1.2, 0.9), p=0.01, base_p=0.01)
    rows[-1]["tails"] = thirds(difference, p)
    assert sentence in text(report, rows)
    assert "short histories" not in text(report, GAIN), (
        "without a test, the answer does not compare histories"
    )


def test_the_cost_has_minutes_prompts_and_dollars(report):
    assert "The LLM cost 5 minutes of computing (2 minutes of tuning) and 4,000 prompts." in text(
        report, GAIN
    )
    report["stages"] = [{"name": "completions/external_llm", "facts": {"dollars": 1.5, "rows": 30}}]
    assert "4,000 prompts, and 1.50 dollars for 30 requests to an endpoint." in text(report, GAIN)


def test_each_task_has_a_row_over_base_and_over_the_better_baseline(report):
    rows = result_rows("direct", "mf", "N@5", (0.2, 0.25, 0.3), against="ift", p=0.2, base_p=0.01)
    gains = answer(task_tables(rows), report).gains
    assert [tuple(row) for row in gains] == [
        ("direct recommendation", "Base", "+50.0%", "1 significantly better, of 1", ""),
        (
            "",
            "the better of Base and IFT",
            "+20.0%",
            "not significant",
            "+14.65%",
        ),
    ]


def test_without_ift_the_better_baseline_is_base(report):
    rows = [row for row in LOSS if row["variant"] != "ift"]
    assert answer(task_tables(rows), report).gains[1].baseline == "Base (IFT was not run)"
