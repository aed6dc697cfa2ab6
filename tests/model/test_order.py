"""The order of starting and stopping, and what is undone when a service can't start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Harness, harnesses

from tapd import Application, AuthorError, LineProtocol, Service, UsageError
from tapd.errors import StartFailed
from tapd.model.order import start_order, stop_order

Serve = Callable[..., Harness]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    yield from harnesses(tmp_path)


HAPPENED: list[str] = []
"""What the services of this process did, in order; outside of any state."""
FAILING: dict[str, BaseException] = {}
"""What a service of that name raises at its start."""


class Recording(Service):
    def __init__(self, *requires: str) -> None:
        self.requires = requires
        self.starts = 0

    def start(self) -> None:
        HAPPENED.append(f"+{self.name}")
        self.starts += 1
        if error := FAILING.get(self.name):
            raise error

    def stop(self) -> None:
        HAPPENED.append(f"-{self.name}")

    def build_protocol(self, peer: Any) -> LineProtocol:
        return Echo()


class Echo(LineProtocol):
    def line_received(self, line: str) -> None:
        self.send_line(line)


def make_application(**services: tuple[str, ...]) -> Application:
    application = Application("several")
    for name, requires in services.items():
        application.add_service(Recording(*requires), name)
    return application


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    HAPPENED.clear()
    FAILING.clear()
    yield
    FAILING.clear()


def names(services: list[Service]) -> str:
    return " ".join(service.name for service in services)


def test_services_start_as_they_were_added_and_stop_in_reverse(serve: Serve) -> None:
    harness = serve(make_application(a=(), b=(), c=()))
    harness.serving.finish()
    assert HAPPENED == ["+a", "+b", "+c", "-c", "-b", "-a"]


def test_what_a_service_requires_starts_first() -> None:
    application = make_application(web=("store", "log"), log=(), store=("log",), last=())
    assert names(start_order(application)) == "log store web last"
    assert names(stop_order(application)) == "last web store log"


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ({"a": ("b",), "b": ("c",), "c": ("b",)}, "in a circle: b -> c -> b"),
        ({"a": ("a",)}, "in a circle: a -> a"),
        ({"web": ("stroe",), "store": ()}, "requires 'stroe', which was not added; did you mean"),
        ({"web": ("x",)}, "which was not added; there are web"),
    ],
)
def test_an_impossible_order(services: dict[str, tuple[str, ...]], said: str) -> None:
    application = make_application(**services)
    with pytest.raises(AuthorError, match=said):
        start_order(application)
    assert len(stop_order(application)) == len(services)


def test_a_text_for_a_tuple_of_names() -> None:
    application = make_application(a=(), b=())
    application.services["b"].requires = "a"
    with pytest.raises(AuthorError, match=r"write a tuple of names: \('a',\)"):
        start_order(application)


def test_a_start_that_fails_undoes_those_before_it_and_saves_nothing(serve: Serve) -> None:
    harness = serve(make_application(a=(), b=(), c=()))
    peer = harness.connect()
    HAPPENED.clear()
    FAILING["b"] = RuntimeError("no luck")
    journal = harness.path.parent / "several.d"
    tap = {path: path.read_bytes() for path in journal.glob("generation-*")}
    with pytest.raises(StartFailed) as caught:
        harness.crash()
    assert HAPPENED == ["+a", "+b", "-a"]
    said = str(caught.value)
    assert "the service 'b' raised RuntimeError: no luck" in said
    assert f"{__file__}:" in said
    assert "stopped again: a" in said
    assert caught.value.exit_status == 1
    assert tap == {path: path.read_bytes() for path in journal.glob("generation-*")}
    # The next process finds everything as this one did, the connection, too.
    FAILING.clear()
    harness.give_up()
    harness.start()
    assert harness.application.services["a"].starts == 2
    peer.send(b"hello\n")
    peer.expect(b"hello\r\n")


def test_failed_starts_are_no_deaths(serve: Serve) -> None:
    """Else the log would speak of kills, and input would be suspected of them."""
    harness = serve(make_application(a=()))
    FAILING["a"] = SystemExit(3)
    for _ in range(4):
        with pytest.raises(StartFailed):
            harness.crash() if harness.turn is not None else harness.start()
        harness.give_up()
    restored = harness.state.restore()
    assert restored.history.level == 0
    FAILING.clear()
    harness.start()
    assert harness.serving.trials.careful is None or harness.serving.trials.careful.level == 1


def test_what_a_restart_cannot_mend_says_so_by_its_status(serve: Serve) -> None:
    harness = serve(make_application(a=()))
    FAILING["a"] = UsageError("set a port first")
    with pytest.raises(StartFailed) as caught:
        harness.crash()
    assert caught.value.exit_status == UsageError.exit_status
    harness.give_up()
    FAILING.clear()
    harness.start()
