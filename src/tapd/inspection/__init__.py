"""Looks into a TAP without running any of its code."""
