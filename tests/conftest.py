"""What holds for all tests."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How fast a machine is that others use too is no property.
settings.register_profile("tapd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tapd")


@pytest.fixture(autouse=True, scope="module")
def only_own_objects() -> Iterator[None]:
    """Keep what earlier modules left out of each search among all objects.

    A checked commit looks for what is detached among all objects (`gc.get_objects`): after
    thousands of tests these are a million, and a test of 3,000 commits takes minutes.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()  # what has become garbage meanwhile is collected before the next module
