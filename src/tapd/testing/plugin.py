"""The pytest plugin: fixtures, and an option that repeats ordinary tests with every kill.

pytest imports this in every run on a machine with tapd, whatever is tested. So nothing else of
tapd is imported before a test asks for a host.

* ``tapd_host``: creates hosts (see `Host`), and closes them after the test.
* ``tapd_kill_everywhere``: see `kill_everywhere`.
* ``@pytest.mark.tapd_kill_all`` or ``--tapd-kill-all``: repeats a test that uses ``tapd_host``,
  each time with a kill at another place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tapd.testing.host import Host
    from tapd.testing.kill import KillReport
    from tapd.testing.plan import Plan, Record

MARKER = "tapd_kill_all"


class Hosts:
    """The hosts of one test, and the plan for one of them."""

    def __init__(self) -> None:
        self.made: list[Host] = []
        self.plan: Plan | None = None
        self.planned = 0  # the host that the plan is for
        self.count = 0  # how many the test has created
        self.applications: list[Any] = []
        self.clock_start_s: float | None = None

    def make(self, application: Any, **options: Any) -> Host:
        """Serve `application`, or its replacement from the first run of this test."""
        from tapd.testing.host import Host, as_application  # noqa: PLC0415 - see the module

        number = len(self.made)
        if number == len(self.applications):
            self.applications.append(as_application(application))
        if self.clock_start_s is not None:
            options.setdefault("clock_start_s", self.clock_start_s)
        plan = self.plan if number == self.planned else None
        self.made.append(Host(self.applications[number], plan=plan, **options))
        return self.made[-1]

    def close(self) -> None:
        """Close all hosts; the next run of the test creates new ones."""
        for host in self.made:
            host.close()
        self.made.clear()


_HOSTS = pytest.StashKey[Hosts]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--tapd-kill-all``."""
    parser.getgroup("tapd").addoption(
        "--tapd-kill-all",
        action="store_true",
        help="run each test that uses tapd_host once more for every place of a kill",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(enabled=True, *, splits=False, ignore=()): run this test, which uses "
        "tapd_host, once more for every place where its server can be killed",
    )


@pytest.fixture
def tapd_host(request: pytest.FixtureRequest) -> Iterator[Callable[..., Host]]:
    """Return a function that serves an application in this process; see tapd.testing.Host."""
    hosts = request.node.stash.setdefault(_HOSTS, Hosts())
    yield hosts.make
    hosts.close()


@pytest.fixture
def tapd_kill_everywhere(request: pytest.FixtureRequest) -> Callable[..., KillReport]:
    """Return tapd.testing.kill_everywhere; its report stands in the test's."""
    from tapd.testing.kill import kill_everywhere  # noqa: PLC0415 - see the module

    def run(application: Any, scenario: Any, **options: Any) -> KillReport:
        __tracebackhide__ = True
        report = kill_everywhere(application, scenario, **options)
        request.node.user_properties.append(("tapd", str(report)))
        return report

    return run


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test under every plan, if requested."""
    __tracebackhide__ = True
    marker = pyfuncitem.get_closest_marker(MARKER)
    is_asked = marker is not None or pyfuncitem.config.getoption("--tapd-kill-all")
    if not is_asked or "tapd_host" not in pyfuncitem.fixturenames:
        return None
    if marker is not None and False in (*marker.args, marker.kwargs.get("enabled")):
        return None
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    options = dict(marker.kwargs) if marker is not None else {}
    options.pop("enabled", None)
    _explore(pyfuncitem, pyfuncitem.stash[_HOSTS], options)
    return True


def _explore(pyfuncitem: pytest.Function, hosts: Hosts, options: dict[str, Any]) -> None:
    from tapd.testing.kill import explore, record_of  # noqa: PLC0415 - see the module

    __tracebackhide__ = True
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: value for name, value in pyfuncitem.funcargs.items() if name in names}

    def run(plan: Plan) -> Record:
        hosts.plan = plan
        error: Exception | None = None
        try:
            pyfuncitem.obj(**arguments)
        except Exception as failure:
            error = failure  # the comparison shows or raises it
        record = record_of(hosts.made, error, hosts.planned)
        if hosts.clock_start_s is None and hosts.made:
            hosts.clock_start_s = hosts.made[0].clock.start_s
        hosts.count = len(hosts.made)
        hosts.close()
        return record

    while True:
        report = explore(run, **options)
        pyfuncitem.user_properties.append(("tapd", str(report)))
        hosts.planned += 1
        if hosts.planned >= hosts.count:
            return
