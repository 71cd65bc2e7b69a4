"""Grids and searches, without Ray; tests/cluster/test_on_ray.py has them whole."""

from types import SimpleNamespace

import pytest

from raypipe.cluster import tune


def test_a_point_that_failed_ends_the_search_with_its_error():
    failed = SimpleNamespace(errors=[KeyError("first"), KeyError("second")])
    with pytest.raises(KeyError, match="first"):
        tune._results(SimpleNamespace(fit=lambda: failed))
