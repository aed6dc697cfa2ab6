"""Hypothesis, for all tests: how fast a machine is that others use too is no property."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("tapd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tapd")
