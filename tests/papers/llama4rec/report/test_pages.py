"""The report as HTML, Markdown and terminal text, and the pages of the documentation."""

import pytest

from raypipe.papers.llama4rec.report import docs_page, page, text
from raypipe.papers.llama4rec.report.answer import answer
from raypipe.papers.llama4rec.report.result_tables import task_tables
from raypipe.reports.docs_page import Experiment

from .conftest import result_rows, thirds


@pytest.fixture
def measured(report):
    rows = result_rows("direct", "mf", "N@5", (0.2, 0.1, 0.3), p=0.01, base_p=0.01, oracle=0.8)
    rows[0]["tails"] = thirds(0.1, 0.03)
    rows[-1]["published"] = 0.5
    report["results"] = rows + result_rows("rating", "deepfm", "RMSE", (1.0, 1.2, 0.9), p=0.04)
    return report


def parts(report):
    tables = task_tables(report["results"])
    return answer(tables, report), tables


def test_markdown_begins_with_the_answer_and_has_all_parts(measured):
    head, tables = parts(measured)
    lines = text.markdown(head, tables, measured)
    assert lines.startswith(f"# ml: does the LLM help?\n\n{head.text}\n\n| Task | Baseline |")
    assert "| MF | Llama4Rec | 0.3000 ± 0.0100* (0.5000) |" in lines
    assert "| | gain | +50.0% |" in lines and "| | p | 0.020 |" in lines
    assert "| | best order | 0.8000 |" in lines and "| | effect | +1.00 |" in lines
    assert "| MF | history length | 0.2000 → 0.3000 | | | +0.1000 (p 0.030) | | |" in lines
    assert "| direct | MF | listwise | 0.1 | 0.9 | 0.2500 |" in lines
    assert "| rejected answers | no_answer: 3 |" in lines


def test_the_summary_begins_with_the_answer(measured):
    head, tables = parts(measured)
    summary = text.summary(head, tables)
    assert " ".join(summary.split()).startswith(head.text)
    assert "direct / MF (9 users)" in summary and "  over Base       +50.0%" in summary


def test_the_page_begins_with_the_answer_and_escapes_what_it_shows(measured):
    head, tables = parts(measured)
    html = page.render(head, tables, measured, {})
    assert html.index(head.text) < html.index("<h2>")
    assert "<ml>" not in html, "settings are escaped"
    for word in ("+50.0%", "0.5000", "MF", "late rows, share", "1,200"):
        assert word in html, word


def test_the_page_shows_the_external_llm_and_the_judge_where_the_report_has_them(measured):
    head, tables = parts(measured)
    assert "Comparison with" not in page.render(head, tables, measured, {})
    line = {"task": "direct", "backbone": "mf", "ours": "Llama4Rec", "wins": 31, "ties": 4}
    measured["external_llm"] = {
        "model": "another-llm",
        "rows": 1234,
        "tokens_in": 5678,
        "tokens_out": 90,
        "dollars": 0.125,
        "lines": [line | {"losses": 17, "rejected": 2}],
    }
    measured["attributes"] = {"judge": "judging-llm", "lines": [{"attribute": "mood", "right": 43}]}
    html = page.render(head, tables, measured, {})
    assert "Comparison with another-llm" in html and "1,234 listwise test prompts" in html
    assert "<td>31</td><td>4</td><td>17</td><td>2</td>" in html
    assert "Judged by judging-llm" in html and "<td>mood</td><td>43</td>" in html


def test_a_page_of_the_documentation_has_question_command_table_and_conclusion(measured):
    experiment = Experiment(
        question="Does it help?",
        command="raypipe run llama4rec --data ml",
        conclusion="It does.",
        date="2026-11-30",
    )
    written = docs_page.experiment_page(measured, experiment)
    order = [
        "# Does it help?\n",
        "2026-11-30 · ml · 2 seeds · commit c0ffee",
        "```bash\nraypipe run llama4rec --data ml\n```",
        "On ml, compared with",
        "| MF | Llama4Rec | 0.3000",
        "## Conclusion\n\nIt does.\n",
    ]
    places = [written.index(part) for part in order]
    assert places == sorted(places)


def test_the_headline_table_has_a_row_for_each_run_and_task(measured):
    table = docs_page.headline_table([measured, measured])
    assert table.count("| direct | ml | MF | 2 | +50.0%* | | +50.0%* | +14.65% |") == 2
    assert "| rating | ml | DeepFM | 2 | +10.0%* | +3.10% | +10.0%* | | 2026-11-30 |" in table
    assert "direct" not in docs_page.headline_table([measured], "rating")
