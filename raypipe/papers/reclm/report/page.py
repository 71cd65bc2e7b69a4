"""report.html of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raypipe.papers.reclm.backbones import METRICS
from raypipe.papers.reclm.report import labels
from raypipe.papers.reclm.report.answer import INFORMATIVE, Answer
from raypipe.papers.reclm.report.result_tables import AblationRow, SettingTable
from raypipe.papers.reclm.report.text import GAIN_HEAD, HOW_TO_READ, signal_text
from raypipe.reports import pages


def render(
    answer: Answer,
    tables: Sequence[SettingTable],
    parts: Sequence[AblationRow],
    report: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]],
) -> str:
    """The page.

    Args:
        parts: Augment against the other rows.
        samples: prompts and answers, as `sections.samples` returns them.
    """
    facts = {
        "answer": answer,
        "gain_head": GAIN_HEAD,
        "how_to_read": HOW_TO_READ,
        "tables": tables,
        "parts": parts,
        "metrics": METRICS,
        "report": report,
        "run": report["run"],
        "signal": signal_text(report["text signal"]),
        "informative": report["text signal"]["z"] >= INFORMATIVE,
        "samples": samples,
        "bad_answers": labels.BAD_ANSWERS,
        "rl_facts": labels.REINFORCEMENT,
        "waves": labels.WAVES,
        "tuning_stages": labels.TUNING,
        "snapshots": {
            labels.SNAPSHOTS.get(name, name): value for name, value in report["snapshots"].items()
        },
    }
    return pages.page(Path(__file__).parent, "page", facts)
