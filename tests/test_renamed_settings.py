"""A renamed setting keeps its old name for one release, and a line names the new one."""

from __future__ import annotations

from typing import ClassVar

import pytest
from pydantic import Field

from raypipe import config
from raypipe.config import Config, with_new_names
from raypipe.errors import ConfigError


class Inner(Config):
    renamed_keys: ClassVar[dict[str, str]] = {"old": "fresh"}
    fresh: int = Field(1, ge=0)
    other: int = 2


class Outer(Config):
    renamed_keys: ClassVar[dict[str, str]] = {
        "depth": "inner.other",
        "count": "number",
        "before": "inner",
    }
    inner: Inner = Inner(fresh=7)
    number: int = 0


@pytest.fixture(autouse=True)
def no_earlier_warnings():
    config.warn_once.cache_clear()


def test_old_names_work_and_one_line_names_the_new_one(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("inner: {old: 3}\ncount: 5\ndepth: 4\n")
    result = config.load(Outer, tmp_path, "mine")
    assert result == Outer(inner=Inner(fresh=3, other=4), number=5)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "inner.old is now inner.fresh; the old name works for one release",
        "count is now number; the old name works for one release",
        "depth is now inner.other; the old name works for one release",
    ]


def test_an_override_may_use_an_old_name(tmp_path, capsys):
    assert config.load(Outer, tmp_path, None, {"inner.old": 9}).inner.fresh == 9
    assert "inner.fresh" in capsys.readouterr().err


def test_an_old_name_below_a_renamed_section_works(tmp_path, capsys):
    assert config.load(Outer, tmp_path, None, {"before": {"old": 3}}).inner.fresh == 3
    assert config.load(Outer, tmp_path, None, {"before.old": 9}).inner.fresh == 9
    assert capsys.readouterr().err.splitlines() == [
        "before is now inner; the old name works for one release",
        "inner.old is now inner.fresh; the old name works for one release",
    ]


def test_present_names_stay_as_they_are_and_print_nothing(capsys):
    tree = {"inner": {"fresh": 1}, "number": 2}
    assert with_new_names(Outer, tree) == tree
    assert Outer.model_validate(tree).inner.fresh == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("tree", [{"inner": {"old": 1, "fresh": 2}}, {"count": 1, "number": 2}])
def test_old_and_new_name_together_are_refused(tmp_path, tree):
    with pytest.raises(ConfigError, match=r"is now .*; give the new name only"):
        config.validate(Outer, tree, "here")


@pytest.mark.parametrize(
    "settings",
    [
        {"count": 1, "number": 2},
        {"number": 2, "count": 1},
        {"depth": 1, "inner.other": 2},
        {"before": {"fresh": 1}, "inner.fresh": 2},
    ],
)
def test_old_and_new_name_on_one_command_line_are_refused(tmp_path, settings):
    with pytest.raises(ConfigError, match=r"is now .*; give the new name only"):
        config.load(Outer, tmp_path, None, settings)


def test_old_and_new_name_at_the_top_of_one_preset_are_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("number: 2\ncount: 1\n")
    with pytest.raises(ConfigError, match="count is now number; give the new name only"):
        config.load(Outer, tmp_path, "mine")


@pytest.mark.parametrize("text", ["depth: 4\ninner: {fresh: 3}", "inner: {fresh: 3}\ndepth: 4"])
def test_a_setting_that_moved_into_a_section_keeps_the_rest_of_it(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    assert config.load(Outer, tmp_path, "mine").inner == Inner(fresh=3, other=4)


def test_the_command_line_overrides_an_old_name_of_the_preset(tmp_path):
    (tmp_path / "mine.yaml").write_text("count: 5\n")
    assert config.load(Outer, tmp_path, "mine", {"number": 6}).number == 6
