"""A renamed setting keeps its old name for one release, and says its new one."""

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
    renamed_keys: ClassVar[dict[str, str]] = {"depth": "inner.other", "count": "number"}
    inner: Inner = Inner(fresh=7)
    number: int = 0


@pytest.fixture(autouse=True)
def nothing_said():
    config.warn_once.cache_clear()


def test_old_names_work_and_one_line_names_the_new_form(tmp_path, capsys):
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


def test_present_names_stay_as_they_are_and_nothing_is_said(capsys):
    tree = {"inner": {"fresh": 1}, "number": 2}
    assert with_new_names(Outer, tree) == tree
    assert Outer.model_validate(tree).inner.fresh == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("tree", [{"inner": {"old": 1, "fresh": 2}}, {"count": 1, "number": 2}])
def test_old_and_new_name_together_are_refused(tmp_path, tree):
    with pytest.raises(ConfigError, match=r"is now .*; give the new name only"):
        config.validate(Outer, tree, "here")
