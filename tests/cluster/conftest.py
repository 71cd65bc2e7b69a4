"""A Ray of their own for the tests of this folder that need one."""

import pytest


@pytest.fixture(scope="package")
def local_ray():
    from raypipe.cluster import session

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", "local")
        with session.connected(lambda line: None):
            yield
