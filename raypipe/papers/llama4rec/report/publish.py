"""The run folder: report.json, report.html, report.md, predictions/, split/ and bundle/.

docs/run-folder.md describes every file. Everything is read from the artifacts of the stages. An
interrupted and resumed run therefore has the same report as an undisturbed one, except for timings.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from raypipe.cluster import session
from raypipe.data.split import PARTS, Split, evaluated_users
from raypipe.papers.llama4rec.config import FOLDERS, Llama4RecConfig
from raypipe.papers.llama4rec.report import page, result_rows, text
from raypipe.papers.llama4rec.report.answer import answer
from raypipe.papers.llama4rec.report.llm_costs import llm_costs
from raypipe.papers.llama4rec.report.result_tables import task_tables
from raypipe.pipeline.runner import Done
from raypipe.pipeline.store import Store
from raypipe.reports import environment, run_folder

#: columns of the split that only the pipeline needs
INTERNAL = ["held", "hidden", "part"]


Run = run_folder.FinishedRun[Llama4RecConfig]


def publish(
    config: Llama4RecConfig, store: Store, record: Sequence[Done], began: float, to: str = ""
) -> str:
    """Write the run folder, `to` below the store's root.

    Args:
        record: the stages of the run, finished.
        began: start of the run in seconds since 1970.

    Returns:
        the summary for the terminal.
    """
    run = Run(config, store, list(record), began, environment.machine(session.resources()))
    address, summary = session.in_worker(_publish, run, to)
    return f"\n{summary}\n\nreport  {address}/report.html\nbundle  {address}/bundle"


def _publish(run: Run, to: str) -> tuple[str, str]:
    report = _report(run)
    tables = task_tables(report["results"])
    head = answer(tables, report)
    with run_folder.writing(run.store, to, ["predictions", "split", "bundle"]) as folder:
        (folder / "report.json").write_text(json.dumps(report, indent=1))
        (folder / "report.md").write_text(text.markdown(head, tables, report))
        facts = page.artifact_facts(run.config, run.artifact, report)
        (folder / "report.html").write_text(page.render(head, tables, report, facts))
        _write_split(Split.load(run.artifact("split")), folder / "split")
        _copy_predictions(run.config, run.artifact, folder / "predictions")
        shutil.copytree(run.artifact("bundle"), folder / "bundle")
    return run_folder.address(run.store, to), text.summary(head, tables)


def _report(run: Run) -> dict[str, Any]:
    """report.json."""
    config, by_name = run.config, run.by_name
    data = by_name["data"].facts
    settings = config.model_dump(mode="json", exclude=FOLDERS)
    report = {
        "schema": result_rows.SCHEMA,
        "run": {
            "id": by_name["bundle"].key[:12],
            "protocol": config.data.label,
            **environment.run(config.data.name, config.seeds, settings, run.machine, run.began),
        },
        "stages": environment.stages(run.record),
        "results": result_rows.results(
            config.data.name,
            data["published_as"],
            config.data.label,
            run.read("evaluate", "metrics.json"),
        ),
        "llm": llm_costs(config, run.record),
        "aggregation": _weights(run.read("chosen/llama4rec", "chosen.json")),
        "data": data["quality"],
        "audit": by_name["split"].facts["audit"],
    }
    if "attribute_accuracy" in by_name:
        judge = config.judge.model if config.judge else None
        lines = by_name["attribute_accuracy"].facts["lines"]
        report["attributes"] = {"judge": judge, "lines": lines}
    if config.external_llm:
        report["external_llm"] = _external_llm(config.external_llm.model, by_name)
        report["rival"] = report["external_llm"]  # its old name, for one release
    return report


def _weights(chosen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was chosen on validation, without the grids of the sweep."""
    weights = []
    for choice in chosen:
        weights.append({key: value for key, value in choice.items() if key != "grid"})
    return weights


def _external_llm(model: str, by_name: dict[str, Done]) -> dict[str, Any]:
    costs = by_name["completions/external_llm"].facts
    return {
        "model": model,
        "rows": costs["rows"],
        "tokens_in": costs["tokens_in"],
        "tokens_out": costs["tokens_out"],
        "dollars": costs["dollars"],
        "lines": by_name["external_llm"].facts["lines"],
    }


def _copy_predictions(
    config: Llama4RecConfig, artifact: Callable[[str], Path], folder: Path
) -> None:
    """Predictions of the first seed, and those of the others in seedN/."""
    for seed in config.repetitions:
        target = folder if seed == config.seed else folder / f"seed{seed}"
        target.mkdir(parents=True, exist_ok=True)
        for file in (artifact("evaluate") / f"seed{seed}").glob("*.parquet"):
            shutil.copy2(file, target / file.name)


def _write_split(split: Split, folder: Path) -> None:
    """train, validation and test of the top-k tasks; those of rating prediction in rating/."""
    folder.mkdir(parents=True)
    (folder / "rating").mkdir()
    for part in PARTS:
        topk, rating = _part(split.topk, part), _part(split.rating, part)
        if part != "train":
            for task in ("direct", "sequential"):
                evaluated = evaluated_users(split.topk, task)
                users = evaluated.loc[evaluated["part"] == part, "user_id"]
                topk[f"evaluated_{task}"] = topk["user_id"].isin(users)
        topk.to_parquet(folder / f"{part}.parquet", index=False)
        rating.to_parquet(folder / "rating" / f"{part}.parquet", index=False)


def _part(frame: pd.DataFrame, part: str) -> pd.DataFrame:
    return frame[frame["part"] == part].drop(columns=INTERNAL, errors="ignore")
