"""A check: its secret is sealed, and its answer is taken once, by who still waits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tapd.image.pickling.pickler import dump_graph, load_graph
from tapd.model.access.check import SecretCheck, Work
from tapd.model.access.seal import Sealer
from tapd.model.application import QUEUE_GROUP_MAX, Application
from tapd.model.protocol import Protocol
from tapd.model.service import Service


def is_long(secret: str, least: int) -> bool:
    return len(secret) >= least


class LengthCheck(SecretCheck):
    def work(self, secret: str) -> Work:
        return is_long, (secret, 3)

    def group(self) -> str:
        return "somewhere"

    def answered(self, result: Any, error: Any) -> None:
        self.session.answers.append((result, error))


class Session(Protocol):
    check: LengthCheck | None = None

    def __init__(self) -> None:
        self.answers: list[Any] = []


class Runtime:
    sealer = Sealer(b"k" * 32)

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal
        self.asked: list[Any] = []
        self.groups: list[tuple[str, int]] = []

    def run_in_queue(
        self, function: Any, args: Any, done: Any, *, is_wanted: Any, group: str, group_max: int
    ) -> str:
        self.asked.append((function, args, done, is_wanted))
        self.groups.append((group, group_max))
        return self.refusal


def go_on(application: Application, refusal: str = "") -> tuple[Session, Runtime]:
    """Have a process with the application's one session; return both."""
    runtime = application._v_runtime = Runtime(refusal)
    session = application.connections[1]
    assert isinstance(session, Session)
    session._v_transport = SimpleNamespace()
    return session, runtime


@pytest.fixture
def application() -> Application:
    application = Application("a")
    application.add_service(service := Service(), "service")
    session = application.connections[1] = Session()
    session.service = service
    return application


def begin(session: Session) -> str:
    return LengthCheck(session, session.service.sealer.seal(b"woohoo")).begin()


def test_the_answer_is_taken_once(application: Application) -> None:
    session, runtime = go_on(application)
    assert begin(session) == ""
    function, args, done, is_wanted = runtime.asked.pop()
    assert runtime.groups == [("somewhere", QUEUE_GROUP_MAX)]
    assert is_wanted()
    done(function(*args), None)
    assert session.answers == [(True, None)]
    assert session.check is None
    assert not is_wanted()
    done(function(*args), None)
    assert len(session.answers) == 1


def test_a_kill_has_it_begin_again_and_shows_no_secret(application: Application) -> None:
    session, _runtime = go_on(application)
    begin(session)
    data = dump_graph(application).data
    assert b"woohoo" not in data
    session, runtime = go_on(load_graph(data))
    assert session.check is not None
    session.check.begin()
    function, args, done, _is_wanted = runtime.asked.pop()
    assert (function, args) == (is_long, ("woohoo", 3))
    done(None, error := ValueError())
    assert session.answers == [(None, error)]


def test_nobody_waits_for_what_was_refused_or_replaced(application: Application) -> None:
    session, runtime = go_on(application, "too many")
    assert begin(session) == "too many"
    assert session.check is None
    runtime.refusal = ""
    begin(session)
    begin(session)
    first = runtime.asked[1]
    assert not first[3]()
    first[2](True, None)
    assert session.answers == []


def test_nobody_waits_whose_connection_is_gone(application: Application) -> None:
    session, runtime = go_on(application)
    begin(session)
    session._v_transport = None
    _function, _args, done, is_wanted = runtime.asked.pop()
    assert not is_wanted()
    done(True, None)
    assert session.answers == []
