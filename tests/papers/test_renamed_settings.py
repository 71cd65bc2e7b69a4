"""The settings that were renamed in this release: their old names still work, and name the new."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from raypipe import config
from raypipe.errors import ConfigError
from raypipe.papers import contract
from raypipe.papers.llama4rec.config import load
from raypipe.papers.llama4rec.report import compare

ENDPOINT = {"url": "http://127.0.0.1:9/v1", "model": "m"}


class Renamed(NamedTuple):
    """A renamed setting, and what else a run needs that sets it."""

    paper: str
    old: str
    new: str
    value: Any
    needed: dict[str, Any] = {}


RENAMED = [
    Renamed("llama4rec", "rival", "external_llm", ENDPOINT),
    Renamed("llama4rec", "rival_tasks", "external_llm_prompts", 7),
    Renamed("llama4rec", "rival_k", "external_llm_candidates", 9),
    Renamed("llama4rec", "prompts.rated", "prompts.rating_history_length", 11),
    Renamed("llama4rec", "rerank.written", "rerank.generate_ranking", True),
    Renamed(
        "llama4rec",
        "judge.at_once",
        "judge.max_concurrent_requests",
        3,
        {f"judge.{key}": value for key, value in ENDPOINT.items()},
    ),
    Renamed(
        "reclm",
        "teacher.endpoint.at_once",
        "teacher.endpoint.max_concurrent_requests",
        3,
        {
            "teacher.source": "endpoint",
            **{f"teacher.endpoint.{key}": value for key, value in ENDPOINT.items()},
        },
    ),
]
each_renamed = pytest.mark.parametrize("renamed", RENAMED, ids=lambda renamed: renamed.old)


@pytest.fixture(autouse=True)
def no_earlier_warnings():
    """Each old name costs one line in a process: forget the lines of other tests."""
    config.warn_once.cache_clear()


def load_settings(renamed, settings):
    paper = contract.find(renamed.paper)
    return config.load(paper.Config, paper.presets, None, {**renamed.needed, **settings})


@each_renamed
def test_an_old_name_loads_and_one_line_names_the_new_one(renamed, capsys):
    expected = load_settings(renamed, {renamed.new: renamed.value})
    assert capsys.readouterr().err == ""
    assert load_settings(renamed, {renamed.old: renamed.value}) == expected
    assert capsys.readouterr().err == (
        f"{renamed.old} is now {renamed.new}; the old name works for one release\n"
    )


@each_renamed
def test_old_and_new_name_together_are_refused(renamed):
    message = f"{renamed.old} is now {renamed.new}; give the new name only"
    with pytest.raises(ConfigError, match=message):
        load_settings(renamed, {renamed.old: renamed.value, renamed.new: renamed.value})


def test_old_names_below_the_old_name_of_a_section_load(capsys):
    endpoint = {**ENDPOINT, "at_once": 2}
    assert load("toy", {"rival": endpoint}).external_llm.max_concurrent_requests == 2
    dotted = {**{f"rival.{key}": value for key, value in ENDPOINT.items()}, "rival.at_once": 4}
    assert load("toy", dotted).external_llm.max_concurrent_requests == 4
    assert "external_llm.at_once is now external_llm.max_concurrent" in capsys.readouterr().err


def test_a_report_with_old_names_is_compared_under_the_new_ones(capsys):
    reports = []
    for settings in (
        {"rival": None, "rival_k": 20, "prompts": {"rated": None}},
        {
            "external_llm": None,
            "external_llm_candidates": 6,
            "prompts": {"rating_history_length": 9},
        },
    ):
        reports.append({"run": {"commit": "c", "config": settings}})
    assert compare.differing_settings(*reports) == [
        ("external_llm_candidates", 20, 6),
        ("prompts.rating_history_length", None, 9),
    ]
    assert capsys.readouterr().err == "", "the names come from a report, so no line warns of them"
