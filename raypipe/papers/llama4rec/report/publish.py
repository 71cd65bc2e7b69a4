"""The run folder: report.json, report.html, predictions/, split/ and bundle/, from the artifacts of the stages.

docs/run-folder.md describes every file. Everything here is read from artifacts, so the report of a run that was cut off and
continued equals that of an undisturbed one, but for its timings.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from raypipe.backbones import registry
from raypipe.cluster import session
from raypipe.data.split import PARTS, Split, evaluated_users
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.report import plots, result_tables, text
from raypipe.papers.llama4rec.report.samples import samples
from raypipe.pipeline.runner import Done
from raypipe.pipeline.store import Store
from raypipe.reports import environment, pages

SCHEMA = "raypipe-report/2"

#: settings that name places of this machine, which a report does not tell
FOLDERS: Any = {"data": {"dir"}, "llm": {"tune": {"sources": {"__all__": {"data": {"dir"}}}}}}


def publish(
    config: Llama4RecConfig, store: Store, record: Sequence[Done], began: float, to: str = ""
) -> str:
    """Write the run folder, `to` below the store's root; returns the summary for the terminal."""
    machine = environment.machine(session.resources())
    report, summary = session.in_worker(_publish, config, store, list(record), began, machine, to)
    return f"\n{summary}\n\nreport  {report}/report.html\nbundle  {report}/bundle"


def _publish(
    config: Llama4RecConfig,
    store: Store,
    record: list[Done],
    began: float,
    machine: dict[str, Any],
    to: str,
) -> tuple[str, str]:
    done = {d.name: d for d in record}

    def of(stage: str) -> Path:
        return store.local(stage, done[stage].key)

    facts = done["data"].facts
    rows = result_tables.results(
        config.data.name,
        facts["published_as"],
        config.data.label,
        json.loads((of("evaluate") / "metrics.json").read_text()),
    )
    chosen = json.loads((of("chosen/llama4rec") / "chosen.json").read_text())
    own = config.model_dump(mode="json", exclude=FOLDERS)
    run = {
        "id": done["bundle"].key[:12],
        "protocol": config.data.label,
        **environment.run(config.data.name, config.seeds, own, machine, began),
    }
    llm = _llm(config, record)
    report = {
        "schema": SCHEMA,
        "run": run,
        "stages": environment.stages(record),
        "results": rows,
        "llm": llm,
        "aggregation": [{k: v for k, v in c.items() if k != "grid"} for c in chosen],
        "data": facts["quality"],
        "audit": done["split"].facts["audit"],
    }
    if "judged" in done:
        report["attributes"] = {
            "judge": config.judge.model if config.judge else None,
            "lines": done["judged"].facts["lines"],
        }
    if config.rival:
        of_rival = done["completions/rival"].facts
        costs = {k: of_rival[k] for k in ("rows", "tokens_in", "tokens_out", "dollars")}
        report["rival"] = {
            "model": config.rival.model,
            **costs,
            "lines": done["rival"].facts["lines"],
        }
    sheets = result_tables.sheets(rows)
    folder = Path(tempfile.mkdtemp(prefix="raypipe-"))
    try:
        (folder / "report.json").write_text(json.dumps(report, indent=1))
        (folder / "report.md").write_text(text.markdown(sheets, report))
        (folder / "report.html").write_text(_page(report, sheets, chosen, of, record, config))
        _write_split(Split.load(of("split")), folder / "split")
        for seed in config.repetitions:
            target = folder / "predictions" / ("" if seed == config.seed else f"seed{seed}")
            target.mkdir(parents=True, exist_ok=True)
            for file in (of("evaluate") / f"seed{seed}").glob("*.parquet"):
                shutil.copy2(file, target / file.name)
        shutil.copytree(of("bundle"), folder / "bundle")
        place = f"{store.uri}/{to}".rstrip("/")
        for old in ("predictions", "split", "bundle"):
            store.remove(f"{place}/{old}")
        store.publish(folder, to)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return place, text.summary(sheets)


def _write_split(split: Split, folder: Path) -> None:
    """train, validation and test of the top-k tasks, and under rating/ those of rating prediction."""
    evaluated = {
        t: evaluated_users(split.topk, t).set_index(["user_id", "part"]).index
        for t in ("direct", "sequential")
    }
    for frame, target in ((split.topk, folder), (split.rating, folder / "rating")):
        target.mkdir(parents=True)
        for part in PARTS:
            rows = frame[frame["part"] == part].drop(
                columns=["held", "hidden", "part"], errors="ignore"
            )
            if frame is split.topk and part != "train":
                index = pd.MultiIndex.from_product([rows["user_id"], [part]]) if len(rows) else None
                for task, known in evaluated.items():
                    rows = rows.assign(
                        **{f"evaluated_{task}": index.isin(known) if index is not None else []}
                    )
            rows.to_parquet(target / f"{part}.parquet", index=False)


def _llm(config: Llama4RecConfig, record: list[Done]) -> dict[str, Any]:
    """The LLM's costs, and what share of the LLM stages' time went where."""
    waves = [
        d for d in record if d.name.startswith("completions/") and "dollars" not in d.facts
    ]  # endpoints have their own lines
    rejected: Counter[str] = Counter()
    for d in record:
        if d.name not in ("rival", "judged"):  # these tell of another LLM's answers
            rejected.update(d.facts.get("rejected", {}))
    start = sum(d.facts["engine_start_seconds"] for d in waves)
    busy = sum(d.facts["generation_seconds"] for d in waves)
    whole = sum(d.seconds for d in waves)
    wording = sum(d.seconds for d in record if d.name.startswith("prompts/"))
    tuning = sum(d.seconds for d in record if d.name.startswith("llm/"))
    parts = [
        ("building prompts", wording),
        ("starting engines", start),
        ("generating", busy),
        ("stopping engines, merging", max(0.0, whole - start - busy)),
    ]
    total = sum(s for _, s in parts) or 1.0
    (tuned,) = (d for d in record if d.name == "llm/augmented")
    again = [d for d in record if d.name.startswith(f"seed{config.seed}/augmented/")]
    return {
        "model": config.llm.source,
        "parameters": tuned.facts.get("parameters"),
        "instructions": tuned.facts["rows"],
        "steps": tuned.facts["steps"],
        "workers": tuned.facts["workers"],
        "refit_seconds": sum(d.seconds for d in again),
        "engine": config.llm.engine.name,
        "prompts": sum(d.facts["rows"] for d in waves),
        "known": sum(d.facts["reused"] for d in waves),
        "rejected": dict(rejected),
        "tokens_in": sum(d.facts["tokens_in"] for d in waves),
        "tokens_out": sum(d.facts["tokens_out"] for d in waves),
        "seconds": whole,
        "prompts_per_second": sum(d.facts["generated"] for d in waves) / busy if busy else None,
        "engine_starts": sum(1 for d in waves if d.facts["rows"] > d.facts["reused"]),
        "tuning_seconds": tuning,
        "shares": [{"name": n, "seconds": s, "share": s / total} for n, s in parts],
    }


def _page(
    report: dict[str, Any],
    sheets: list[dict[str, Any]],
    chosen: list[dict[str, Any]],
    of: Any,
    record: list[Done],
    config: Llama4RecConfig,
) -> str:
    seed = config.seed
    maps = [
        plots.heat_map(
            c["grid"],
            (c["alpha_1"], c["alpha_2"]),
            f"{c['task']} · {registry.title(c['backbone'])}",
        )
        for c in chosen
        if c["grid"]
    ]
    curves = {
        d.name: json.loads((of(d.name) / "curve.json").read_text())
        for d in record
        if d.name.startswith((f"seed{seed}/base/", f"seed{seed}/augmented/"))
    }
    return pages.page(
        Path(__file__).parent,
        "page",
        run=report["run"],
        sheets=sheets,
        aggregation=chosen,
        heat_maps=maps,
        weights=plots.weights(chosen),
        quality=report["data"],
        audit=report["audit"],
        llm=report["llm"],
        rival=report.get("rival"),
        attributes=report.get("attributes"),
        samples=samples(config, of, chosen),
        curves=plots.curves(curves),
        stages=report["stages"],
        total_seconds=sum(s["seconds"] for s in report["stages"]),
        environment=json.dumps({k: report["run"][k] for k in ("machine", "versions")}, indent=1),
        configuration=json.dumps(report["run"]["config"], indent=1),
    )
