"""No login of the person who runs the tests."""

import pytest


@pytest.fixture(autouse=True)
def _no_login(no_login):
    """Every test of this folder begins without a login."""
