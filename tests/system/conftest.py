"""Booted Debians for the tests of this directory, and the package installed in them.

Root file systems are cached (see `debian_root`), the package is built from the
work tree, and each suite boots in under a second. Without root, or with a tool
missing, everything here is skipped, and a line at the end says so. Where
TAPD_REQUIRE_SYSTEM is set (as in .ci/run for root), that is an error instead.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import booted
import pytest
from booted import Booted
from debian_root import debian_root
from packaged import SUITES, build_package, install_package

WHY_NOT = booted.why_not()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.system)
            item.add_marker(pytest.mark.root)
            if WHY_NOT and not os.environ.get("TAPD_REQUIRE_SYSTEM"):
                item.add_marker(pytest.mark.skip(reason=f"NO SYSTEM TESTS: {WHY_NOT}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the journal had to say when a test failed."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for system in item.funcargs.values():
            if isinstance(system, Booted):
                since = f"--since=@{call.start:.0f}"
                said = system.run("journalctl", "--no-pager", since, check=False)
                report.sections.append((f"journal of {system.suite}", said.stdout[-8000:]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if WHY_NOT:
        terminalreporter.write_line(
            f"NOT TESTED ON A REAL SYSTEMD: {WHY_NOT} (run `make test` as root)", red=True
        )


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package, built from the work tree."""
    return build_package(tmp_path_factory.mktemp("package"))


def boot(suite: str, tmp_path_factory: pytest.TempPathFactory) -> Booted:
    return Booted(suite, debian_root(suite), tmp_path_factory.mktemp(suite))


@pytest.fixture(scope="session", params=SUITES)
def debian(
    request: pytest.FixtureRequest, package: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Booted]:
    """A booted Debian with the package; shared, so each test makes servers of its own name."""
    with boot(request.param, tmp_path_factory) as system:
        install_package(system, package)
        yield system


@pytest.fixture(params=SUITES)
def bare_debian(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Booted]:
    """A booted Debian without the package, for one test."""
    with boot(request.param, tmp_path_factory) as system:
        yield system
