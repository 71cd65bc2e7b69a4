"""Settings of the test session, and the fixtures that several rooms share."""

from __future__ import annotations

import os

import pytest

# Ray starts where a test starts it, and fails elsewhere: never by accident
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
# two threads need longer than one for models as small as those of the tests
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = [
    "tests.support.endpoint",
    "tests.support.small_llm",
    "tests.support.toy_data",
]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Let pytest-cov alone measure pytest-xdist's processes, not coverage.py's start-up as well."""
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
