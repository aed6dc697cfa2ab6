"""These tests need strace(1), and the right to trace one's own processes.

Without, they are skipped, and a line at the end says so. Where TAPD_REQUIRE_SYSTEM is
set (as in .ci/run for root), that is an error instead.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.faults.rig import why_not


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and why_not() and not os.environ.get("TAPD_REQUIRE_SYSTEM"):
            item.add_marker(pytest.mark.skip(reason=f"NO FAULTS: {why_not()}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if why_not():
        terminalreporter.write_line(
            f"NOT TESTED WITH A FAULT AT EACH SYSTEM CALL: {why_not()}", red=True
        )
