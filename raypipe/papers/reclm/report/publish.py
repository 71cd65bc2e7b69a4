"""The run folder: report.json, report.html, report.md, profiles/ and bundle/.

docs/run-folder.md describes every file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any

from raypipe.cluster import session
from raypipe.papers.reclm.config import FOLDERS, ReclmConfig
from raypipe.papers.reclm.report import page, profile_files, published, sections, text
from raypipe.papers.reclm.report.answer import answer
from raypipe.papers.reclm.report.result_tables import ResultRow, ablation, setting_tables
from raypipe.pipeline.runner import Done
from raypipe.pipeline.store import Store
from raypipe.reports import environment, run_folder

#: format of report.json
SCHEMA = "raypipe-reclm/1"


Run = run_folder.FinishedRun[ReclmConfig]


def publish(config: ReclmConfig, store: Store, record: Sequence[Done], began: float) -> str:
    """Write the run folder at the store's root.

    Args:
        record: the stages of the run, finished.
        began: start of the run in seconds since 1970.

    Returns:
        the summary for the terminal.
    """
    run = Run(config, store, list(record), began, environment.machine(session.resources()))
    address, summary = session.in_worker(_publish, run)
    return f"\n{summary}\n\nreport  {address}/report.html\nbundle  {address}/bundle"


def _publish(run: Run) -> tuple[str, str]:
    report = _report(run)
    tables = setting_tables(report["results"], report["random"])
    parts = ablation(report["results"])
    head = answer(tables, report)
    samples = sections.samples(run.artifact, run.by_name)
    with run_folder.writing(run.store, "", ["profiles", "bundle"]) as folder:
        (folder / "report.json").write_text(json.dumps(report, indent=1))
        (folder / "report.md").write_text(text.markdown(head, tables, parts, report))
        (folder / "report.html").write_text(page.render(head, tables, parts, report, samples))
        profile_files.write(run.artifact, run.by_name, folder / "profiles")
        shutil.copytree(run.artifact("bundle"), folder / "bundle")
    return run.store.uri, text.summary(head, tables)


def _report(run: Run) -> dict[str, Any]:
    """report.json."""
    config, by_name = run.config, run.by_name
    measured = run.read("evaluate", "metrics.json")
    titles = by_name["evaluate"].facts["titles"]
    data = by_name["data"].facts
    settings = config.model_dump(mode="json", exclude=FOLDERS)
    return {
        "schema": SCHEMA,
        "run": environment.run(config.data.name, config.seeds, settings, run.machine, run.began),
        "stages": environment.stages(run.record),
        "results": _results(measured["lines"], titles, data["published_as"]),
        "random": measured["random"],
        "snapshots": by_name["snapshots"].facts,
        "data": data["quality"],
        "text signal": by_name["text-signal"].facts,
        "epochs": sections.epochs(by_name, config, titles),
        "llm": sections.llm_costs(run.record),
        "education": sections.education(by_name),
        "case": sections.case_study(run.artifact, by_name, config),
    }


def _results(
    measured: Sequence[dict[str, Any]], titles: dict[str, str], published_as: str
) -> list[ResultRow]:
    """The measured rows with titles and the paper's values."""
    rows: list[ResultRow] = []
    for line in measured:
        title = titles[line["backbone"]]
        value = published.value(published_as, line["setting"], title, line["row"], line["metric"])
        rows.append({**line, "title": title, "published": value})  # type: ignore[typeddict-item]
    return rows
