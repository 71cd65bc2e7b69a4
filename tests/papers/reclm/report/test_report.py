"""RecLM's report: its answer, its tables, its page, and the pages of the documentation."""

import pytest

from raypipe.papers.reclm.backbones import METRICS, SETTINGS
from raypipe.papers.reclm.report import docs_page, page, published, text
from raypipe.papers.reclm.report.answer import answer
from raypipe.papers.reclm.report.result_tables import ablation, setting_tables
from raypipe.reports.docs_page import Experiment

SPREAD = [0.02, 0.03, 0.04]
RANDOM = {setting: {metric: SPREAD for metric in METRICS} for setting in SETTINGS}


def rows_of(rows=("base", "wo_user", "augment"), gain=0.5, p=0.001):
    """Rows of one backbone: full-shot changes nothing, zero-shot gains."""
    lines = []
    for setting in SETTINGS:
        for row in rows:
            better = row == "augment" and setting == "zero-shot"
            mean = 0.1 * (1 + gain * better)
            for metric in METRICS:
                line = {
                    "setting": setting,
                    "backbone": "bias_mf",
                    "title": "BiasMF",
                    "row": row,
                    "metric": metric,
                    "mean": mean,
                    "std": 0.01,
                    "values": [mean],
                    "n_users": 9,
                    "published": 0.0683 if row == "base" else None,
                }
                if row != "base":
                    line["p"] = p if better else 0.9
                if row == "wo_user":
                    line["augment_p"] = 0.9
                lines.append(line)
    return lines


@pytest.fixture
def report():
    wave = {"name": "users", "rows": 4000, "known": 4, "tokens_in": 9, "tokens_out": 8}
    wave |= {"seconds": 180.0, "per_second": 5.0, "tokens_per_second": 9.0, "busy": 0.5}
    machine = {"cores": 2, "processor": "fast", "memory_gib": 24.0, "cluster": {"CPU": 2.0}}
    return {
        "run": {
            "dataset": "mind",
            "seeds": 2,
            "commit": "c0ffee",
            "finished": "2026-11-30 12:00:00 UTC",
            "seconds": 600.0,
            "config": {"seed": 0},
            "versions": {"ray": "2"},
            "machine": machine,
        },
        "stages": [],
        "results": rows_of(),
        "random": RANDOM,
        "text signal": {"cosine": 0.3, "random": 0.2, "std": 0.01, "z": 10.0, "pairs": 4000},
        "llm": {"waves": [wave | {"dollars": None}], "tuning": {"llm/base": 120.0}},
        "education": {},
        "epochs": [],
        "case": None,
        "snapshots": {"users": 9},
        "data": {"rows read": 1200},
    }


def words(report):
    return answer(setting_tables(report["results"], report["random"]), report).text


def test_the_answer_names_each_setting_its_significance_and_the_cost(report):
    assert words(report) == (
        "On mind, compared with no profiles (Base), the use of LLM-written profiles (Augment)"
        " improves zero-shot recommendation of cold-start items by 50.0% on average (statistically"
        " significant in all 4 results); it makes no statistically significant difference to"
        " full-shot recommendation (0.0% on average). The LLM cost 5 minutes of computing (2"
        " minutes of tuning) and 4,000 prompts."
    )


def test_a_loss_is_reported_as_worse(report):
    report["results"] = rows_of(gain=-0.2)
    assert "worsens zero-shot recommendation of cold-start items by 20.0%" in words(report)


def test_the_answer_mentions_useless_texts_one_seed_dollars_and_a_run_of_base_alone(report):
    report["text signal"]["z"] = 1.0
    report["run"]["seeds"] = 1
    report["llm"]["waves"][0]["dollars"] = 0.25
    report["results"] = rows_of(rows=("base",))
    assert words(report) == (
        "On mind, this run measures Base only, so it does not show what profiles add. The item"
        " texts carry no information about users' choices beyond chance, so profiles made from them"
        " cannot help by their meaning. The LLM cost 5 minutes of computing (2 minutes of tuning)"
        " and 4,000 prompts, and 0.25 dollars for an endpoint. The run has one seed, so another"
        " training may give a different result."
    )


def test_results_within_the_range_of_random_orders_and_profiles_that_are_all_alike_are_said(report):
    assert "random orders" not in words(report) and "same profile" not in words(report)
    report["random"] = {**RANDOM, "full-shot": {metric: [0.1, 0.2] for metric in METRICS}}
    alike = {"with the nearest user": 1.0, "with a random user": 0.995}
    report["education"] = {"smoothing": {"after": alike}}
    assert (
        "In full-shot recommendation, no result is better than the best of twenty random orders."
        " The LLM wrote nearly the same profile for all users" in words(report)
    )
    alike["with a random user"] = 0.9
    assert "same profile" not in words(report)


def test_the_text_signal_is_concluded(report):
    signal = report["text signal"]
    assert text.signal_text(signal).endswith("(z): users choose items with similar texts.")
    assert "it does not show" in text.signal_text(signal | {"z": 1.9})


def test_the_page_names_keys_in_words_and_the_papers_values_only_where_there_are_some(report):
    report["education"] = {
        "reward-accuracy": [{"kind": "full_stop", "accuracy": 0.5, "pairs": 4}],
        "llm/policy": {"score first": -0.5},
    }
    tables = setting_tables(report["results"], report["random"])
    html = page.render(answer(tables, report), tables, [], report, [])
    for word in ("a full stop alone", "mean score by the reward model, first round"):
        assert word in html, word
    assert "<td>user profiles</td>" in html and "building the embedded LLM" in html
    assert "Violet" in html
    for row in report["results"]:
        row["published"] = None
    tables = setting_tables(report["results"], report["random"])
    assert "Violet" not in page.render(answer(tables, report), tables, [], report, [])


def test_the_first_row_of_interest_is_the_runs_subject(report):
    report["results"] = rows_of(rows=("base", "wo_user", "teacher"))
    assert "(teacher's profiles) makes no statistically significant difference" in words(report)


def test_page_markdown_and_summary_begin_with_the_answer(report):
    tables = setting_tables(report["results"], report["random"])
    head, parts = answer(tables, report), ablation(report["results"])
    markdown = text.markdown(head, tables, parts, report)
    assert head.text in markdown.splitlines()[2]
    assert "| BiasMF | Augment | 0.1500 ± 0.0100* |" in markdown
    assert "| BiasMF | zero-shot | w/o user profiles | +50.0% (p 1.000) |" in markdown
    assert " ".join(text.summary(head, tables).split()).startswith(head.text)
    html = page.render(head, tables, parts, report, [])
    assert html.index("the use of LLM-written profiles") < html.index("<h2>")
    assert "+50.0%" in html and "0.0683" in html


def test_pages_of_the_documentation(report):
    experiment = Experiment("Do they?", "raypipe run reclm", "Yes.", "2026-12-01")
    written = docs_page.experiment_page(report, experiment)
    places = [written.index(part) for part in ("# Do they?", "run reclm", "BiasMF", "Yes.")]
    assert places == sorted(places)
    table = docs_page.headline_table([report])
    assert "| zero-shot | mind | BiasMF | 2 | Augment | +50.0%* | 2026-11-30 |" in table


def test_published_values():
    assert published.value("MIND", "full-shot", "BiasMF", "base", "R@20") == 0.0683
    assert published.value("MIND", "full-shot", "BiasMF", "teacher", "R@20") is None
