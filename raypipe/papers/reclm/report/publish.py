"""The report of a RecLM run: Tables 1, 2 and 3 beside the published ones, what the LLM learnt, samples, costs."""

from __future__ import annotations

import csv
import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raypipe.cluster import session
from raypipe.evaluation import significance
from raypipe.papers.reclm.backbones import METRICS, SETTINGS
from raypipe.papers.reclm.config import FOLDERS, ReclmConfig
from raypipe.pipeline.runner import Done
from raypipe.pipeline.store import Store
from raypipe.reports import environment, pages
from raypipe.reports.pages import cell_text
from raypipe.steps.answer_cache import REUSED

SCHEMA = "raypipe-reclm/1"
TITLES = {
    "base": "Base",
    "wo_user": "w/o user profiles",
    "wo_item": "w/o item profiles",
    "teacher": "teacher's profiles",
    "untuned": "untuned LLM",
    "gpt_kd": "GPT_KD",
    "naive_first_turn": "Naive, first turn",
    "naive_all_tokens": "Naive, all tokens",
    "naive_last_turn": "Naive, last turn",
    "mask": "Mask",
    "augment": "Augment",
}
#: how the paper calls the rows, by the table that has them
PRINTED = {
    "base": ("1", "Base"),
    "augment": ("1", "Augment"),
    "wo_user": ("2", "w/o User Aug."),
    "wo_item": ("2", "w/o Item Aug."),
}


@functools.cache
def _published() -> dict[tuple[str, str, str, str, str, str], float]:
    with open(Path(__file__).parent / "published.csv", newline="") as stream:
        return {
            (
                r["table"],
                r["dataset"],
                r["setting"],
                r["backbone"],
                r["variant"],
                r["metric"],
            ): float(r["value"])
            for r in csv.DictReader(stream)
        }


def published(dataset: str, setting: str, backbone: str, row: str, metric: str) -> float | None:
    """The value that RecLM prints, or None; Table 2 is full-shot."""
    table, variant = PRINTED.get(row, ("", ""))
    return _published().get((table, dataset, setting, backbone, variant, metric))


def publish(config: ReclmConfig, store: Store, record: Sequence[Done], began: float) -> str:
    """Write the run folder; returns the summary for the terminal."""
    machine = environment.machine(session.resources())
    place, told = session.in_worker(_publish, config, store, list(record), began, machine)
    return f"\n{told}\n\nreport  {place}/report.html\nbundle  {place}/bundle"


def _publish(
    config: ReclmConfig, store: Store, record: list[Done], began: float, machine: dict[str, Any]
) -> tuple[str, str]:
    done = {d.name: d for d in record}

    def of(stage: str) -> Path:
        return store.local(stage, done[stage].key)

    measured = json.loads((of("evaluate") / "metrics.json").read_text())
    data = done["data"].facts
    titles = done["evaluate"].facts["titles"]
    lines = measured["lines"]
    for line in lines:
        line["title"] = titles[line["backbone"]]
        line["published"] = published(
            data["published_as"], line["setting"], line["title"], line["row"], line["metric"]
        )
    own = config.model_dump(mode="json", exclude=FOLDERS)
    run = environment.run(config.data.name, config.seeds, own, machine, began)
    report = {
        "schema": SCHEMA,
        "run": run,
        "stages": environment.stages(record),
        "results": lines,
        "random": measured["random"],
        "snapshots": done["snapshots"].facts,
        "data": data["quality"],
        "text signal": done["text-signal"].facts,
        "epochs": epochs(done, config, titles),
        "llm": llm(record),
        "education": education(done),
        "case": case(of, done, config),
    }
    made, parts = sheets(lines, measured["random"]), against(lines)
    folder = Path(tempfile.mkdtemp(prefix="raypipe-"))
    try:
        (folder / "report.json").write_text(json.dumps(report, indent=1))
        (folder / "report.md").write_text(markdown(made, parts, report))
        page = pages.page(
            Path(__file__).parent,
            "page",
            report=report,
            run=run,
            sheets=made,
            parts=parts,
            samples=samples(of, done),
            metrics=METRICS,
            environment=json.dumps({k: run[k] for k in ("machine", "versions")}, indent=1),
            configuration=json.dumps(run["config"], indent=1),
            total_seconds=sum(d.seconds for d in record),
        )
        (folder / "report.html").write_text(page)
        _write_profiles(of, done, folder / "profiles")
        shutil.copytree(of("bundle"), folder / "bundle")
        for old in ("profiles", "bundle"):
            store.remove(f"{store.uri}/{old}")
        store.publish(folder, "")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return store.uri, summary(made)


def sheets(
    lines: list[dict[str, Any]], random: dict[str, dict[str, list[float]]]
) -> list[dict[str, Any]]:
    """A table a setting: `groups`, one a backbone, with `title`, `n_users` and `rows`; a row has `title` and `cells`.

    A cell is a line of the results with `p` corrected by Holm over all tested cells of both tables, and `star` where it is above
    Base with p at most 0.05. `random`: the least, mean and largest value of the random orders, for each metric.
    """
    tested = [line for line in lines if "p" in line]
    for line, p in zip(tested, significance.holm([line["p"] for line in tested]), strict=True):
        line["corrected"] = p
    made = []
    for setting in SETTINGS:
        groups = []
        for name in dict.fromkeys(line["backbone"] for line in lines):
            own = [
                line for line in lines if line["backbone"] == name and line["setting"] == setting
            ]
            base = {line["metric"]: line["mean"] for line in own if line["row"] == "base"}
            rows = []
            for row in dict.fromkeys(line["row"] for line in own):
                cells = [line for line in own if line["row"] == row]
                for cell in cells:
                    before = base[cell["metric"]]
                    cell["gain"] = (cell["mean"] - before) / before if before else 0.0
                    cell["star"] = (
                        row != "base" and cell["mean"] > before and cell["corrected"] <= 0.05
                    )
                rows.append({"row": row, "title": TITLES[row], "cells": cells})
            groups.append({"title": own[0]["title"], "n_users": own[0]["n_users"], "rows": rows})
        spread = {m: (min(v), float(np.mean(v)), max(v)) for m, v in random[setting].items()}
        made.append({"setting": setting, "groups": groups, "random": spread})
    return made


def against(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Augment against each row but Base (Table 2, Figures 2 and 3): a line a setting, backbone and row, with `title` and `cells`.

    A cell is the `gain` of Augment over the row, its `p` by Holm over all cells of this table, and whether it is told from chance.
    """
    tested = [line for line in lines if "augment_p" in line]
    corrected = significance.holm([line["augment_p"] for line in tested])
    full = {
        (line["setting"], line["backbone"], line["metric"]): line["mean"]
        for line in lines
        if line["row"] == "augment"
    }
    made: dict[tuple[str, str, str], dict[str, Any]] = {}
    for line, p in zip(tested, corrected, strict=True):
        key = line["setting"], line["backbone"], line["row"]
        own = made.setdefault(
            key, {"setting": key[0], "title": line["title"], "row": TITLES[key[2]], "cells": []}
        )
        gain = full[*key[:2], line["metric"]] / line["mean"] - 1 if line["mean"] else 0.0
        own["cells"].append({"gain": gain, "p": p, "told": p <= 0.05})
    return list(made.values())


def epochs(
    done: dict[str, Done], config: ReclmConfig, titles: dict[str, str]
) -> list[dict[str, Any]]:
    """Seconds an epoch with its validation, Base and Augment, of the fits on the training part (Table 3)."""
    made = []
    for name in config.backbones:
        of = {row: done.get(f"seed{config.seed}/{row}/{name}@train") for row in ("base", "augment")}
        base, full = (d.facts["seconds_per_epoch"] if d else None for d in of.values())
        made.append(
            {
                "backbone": titles.get(name, name),
                "base": base,
                "augment": full,
                "overhead": full / base - 1 if base and full else None,
            }
        )
    return made


def llm(record: list[Done]) -> dict[str, Any]:
    """What the LLM's answers cost: by wave, and in all."""
    waves = []
    for d in record:
        if not d.name.startswith("completions/"):
            continue
        f = d.facts
        busy = f["generation_seconds"]
        after = d.seconds - f["engine_start_seconds"]
        waves.append(
            {
                "name": d.name.partition("/")[2],
                "rows": f["rows"],
                "known": f["reused"],
                "tokens_in": f["tokens_in"],
                "tokens_out": f["tokens_out"],
                "seconds": d.seconds,
                "per_second": f["generated"] / busy if busy else None,
                "tokens_per_second": f["generated_tokens"] / busy if busy else None,
                "busy": busy / after if f["generated"] and after > 0 else None,
                "dollars": f.get("dollars"),
            }
        )
    tuning = {d.name: d.seconds for d in record if d.name.startswith("llm/") or d.name == "reward"}
    return {"waves": waves, "tuning": tuning}


def education(done: dict[str, Done]) -> dict[str, Any]:
    """What the steps of tuning show of themselves: accuracy of the reward model, rewards and divergence, over-smoothing."""
    facts: dict[str, Callable[[dict[str, Any]], Any]] = {
        "reward-accuracy": lambda f: f["lines"],
        "llm/policy": lambda f: {
            k: f[k] for k in ("score first", "score last", "kl last") if k in f
        },
        "smoothing": lambda f: {k: f[k] for k in ("before", "after", "rows")},
    }
    return {name: read(done[name].facts) for name, read in facts.items() if name in done}


def samples(
    of: Callable[[str], Path], done: dict[str, Done], each: int = 3
) -> list[dict[str, Any]]:
    """A few prompts of each wave of the LLM with their answers."""
    made = []
    for name in done:
        if not name.startswith("completions/"):
            continue
        wave = name.partition("/")[2]
        files = sorted((of(done[name].facts["prompts"]) / "prompts").glob("*.parquet"))
        if not files:
            continue
        asked = pd.read_parquet(files[0]).head(each)
        got = pd.read_parquet(of(name) / "completions.parquet").set_index("prompt_id")["answer"]
        made += [
            {
                "id": f"{wave}: {row.prompt_id}",
                "prompt": row.prompt,
                "answer": got.loc[row.prompt_id],
            }
            for row in asked.itertuples()
        ]
    return made


def case(
    of: Callable[[str], Path], done: dict[str, Done], config: ReclmConfig
) -> dict[str, str] | None:
    """The prompt about the user of the case study, and the profile before and after reinforcement learning (Figure 4)."""
    if config.case is None or "completions/sample" not in done:
        return None
    name = f"train/{config.case}"
    asked = pd.concat(
        [pd.read_parquet(f) for f in (of("prompts/sample") / "prompts").glob("*.parquet")]
    ).set_index("prompt_id")
    if name not in asked.index:
        return None
    said = [
        pd.read_parquet(of(f"completions/{wave}") / "completions.parquet").set_index("prompt_id")
        for wave in ("sample", "users")
    ]
    before, after = (str(frame.loc[name, "answer"]).strip() for frame in said)
    return {
        "user": config.case,
        "prompt": str(asked.loc[name, "prompt"]),
        "before": before,
        "after": after,
    }


def _write_profiles(of: Callable[[str], Path], done: dict[str, Done], folder: Path) -> None:
    """profiles/WAVE.parquet: every answer with the hash of its prompt, the model and the time it was written (R4)."""
    from raypipe.steps.answer_cache import prompt_hashes

    for wave in ("users", "items-warm", "items-cold"):
        if f"completions/{wave}" not in done:
            continue
        folder.mkdir(exist_ok=True)
        files = sorted((of(f"prompts/{wave}") / "prompts").glob("*.parquet"))
        asked = pd.concat(
            [
                pd.read_parquet(f, columns=["prompt_id", "mode", "prompt", "pattern", "options"])
                for f in files
            ]
        )
        got = pd.read_parquet(of(f"completions/{wave}") / "completions.parquet")
        asked = (
            asked[["prompt_id"]].assign(prompt_hash=prompt_hashes(asked)).merge(got, on="prompt_id")
        )
        asked["as_of"], _, asked["id"] = asked["prompt_id"].str.partition("/").to_numpy().T
        model = done[f"completions/{wave}"].facts["llm"]
        columns = ["id", "as_of", "profile", "prompt_hash", "model", "recalled"]
        asked = asked.assign(
            profile=asked["answer"].str.strip(),
            model=model,
            recalled=asked["finished_at"] == REUSED,
        )
        asked[columns].to_parquet(folder / f"{wave}.parquet", index=False)


def markdown(
    made: list[dict[str, Any]], parts: list[dict[str, Any]], report: dict[str, Any]
) -> str:
    """The tables as Markdown; in brackets what the paper prints."""
    run, signal = report["run"], report["text signal"]
    lines = [
        f"# {run['dataset']}: do profiles make cold items recommendable?",
        "",
        f"{run['seeds']} seed(s), commit {run['commit']}, {run['finished']}. Epochs chosen on validation, test read once.",
        "In brackets: the paper's value. *: above Base with p at most 0.05 (paired over users and seeds, Holm over all cells)."
        + significance.single_seed_caution(run["seeds"]),
        "",
        f"Do texts tell who takes what? Mean cosine of items that the same user took: {signal['cosine']:.4f}; with texts assigned "
        f"at random {signal['random']:.4f} ± {signal['std']:.4f} (z {signal['z']:+.1f}).",
    ]
    for sheet in made:
        lines += [
            "",
            f"## {sheet['setting']}",
            "",
            f"| backbone | | {' | '.join(METRICS)} |",
            "|" + "---|" * (2 + len(METRICS)),
        ]
        for group in sheet["groups"]:
            for row in group["rows"]:
                cells = [cell_text(c, run["seeds"] > 1) for c in row["cells"]]
                lines.append(f"| {group['title']} | {row['title']} | {' | '.join(cells)} |")
        spread = [f"{low:.4f} to {high:.4f}" for low, _, high in sheet["random"].values()]
        lines.append(f"| random orders | | {' | '.join(spread)} |")
    if parts:
        told = "Augment over the other rows; *: told from chance (p at most 0.05, Holm over all cells of this table)."
        head = f"| backbone | | over | {' | '.join(METRICS)} |"
        lines += [
            "",
            "## What each part adds",
            "",
            told,
            "",
            head,
            "|" + "---|" * (3 + len(METRICS)),
        ]
    for part in parts:
        cells = [
            f"{100 * c['gain']:+.1f} % (p {c['p']:.2f}){'*' if c['told'] else ''}"
            for c in part["cells"]
        ]
        lines.append(
            f"| {part['title']} | {part['setting']} | {part['row']} | {' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"


def summary(made: list[dict[str, Any]]) -> str:
    """The tables as text for a terminal."""
    lines = []
    for sheet in made:
        lines.append(f"{sheet['setting']:38s}" + "".join(f"{m:>10s}" for m in METRICS))
        for group in sheet["groups"]:
            for row in group["rows"]:
                lines.append(
                    f"  {group['title'] + ', ' + row['title']:36s}"
                    + "".join(f"{c['mean']:10.4f}" for c in row["cells"])
                )
        for at, name in ((0, "least"), (2, "largest")):
            lines.append(
                f"  {'random order, ' + name:36s}"
                + "".join(f"{v[at]:10.4f}" for v in sheet["random"].values())
            )
    return "\n".join(lines)
