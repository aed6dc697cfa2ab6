"""Sessions as they were saved before `model.protocols.kept` and `model.access.check` go on.

`tests/golden/telnet-sessions-0.1.0` is the graph of such a server, pickled by the code
from before, with a session for each way in which input waited.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tapd.image.pickling.pickler import load_graph
from tapd.services.telnet.login import Login

GOLDEN = Path(__file__).parents[2] / "golden" / "telnet-sessions-0.1.0"
HALF, DELAYED, AWAITING, SCHEDULED, VERIFYING = 1, 3, 6, 8, 11
PAUSED = {DELAYED, VERIFYING}


@pytest.fixture
def clients(server: Any) -> dict[int, Any]:
    """Everybody who was connected, in a process of today."""
    client_type = type(server.connect())
    transport_type = type(server.transports.popitem()[1])
    server.transports = {}
    for key in (HALF, DELAYED, AWAITING, SCHEDULED, VERIFYING):
        server.transports[key] = transport_type(("127.0.0.1", 50000 + key))
        server.transports[key].paused = key in PAUSED
    server.roll_back((GOLDEN.read_bytes(), {}))
    return {key: client_type(server, key) for key in server.transports}


def test_a_half_typed_password_is_completed(clients: dict[int, Any]) -> None:
    half = clients[HALF]
    half.send(b"hoo\n")
    assert half.read().endswith(b">>> ")
    assert half.ask(b"6*7") == "42\n"


@pytest.mark.parametrize(
    ("key", "output"),
    [
        (AWAITING, b"not finished.\r\n>>> 42\r\n>>> "),
        (SCHEDULED, b"21\r\n>>> "),
        (VERIFYING, b">>> 2\r\n>>> "),
    ],
)
def test_what_was_typed_ahead_runs_once(
    server: Any, clients: dict[int, Any], key: int, output: bytes
) -> None:
    client = clients[key]
    server.kill()  # saved as of today, and loaded again
    server.settle()
    assert client.read().endswith(output)
    assert client.ask(b"3") == "3\n"
    assert not vars(client.session).keys() & {"ahead", "plain_input"}


def test_what_was_typed_behind_a_wrong_password_waits_for_the_delay(
    server: Any, clients: dict[int, Any]
) -> None:
    server.settle()
    assert clients[DELAYED].read() == b""
    server.advance(1.0)
    assert (
        clients[DELAYED].read().endswith(b"Login incorrect.\r\nusername: password: >>> 42\r\n>>> ")
    )
    timers = server.application.delayeds.values()
    assert {timer.function.__name__ for timer in timers} == {"expired"}  # of the half-typed one


def test_what_may_be_a_password_stays_sealed(clients: dict[int, Any], server: Any) -> None:
    assert clients[DELAYED].session.kept_bytes() == 0
    assert b"woohoo" not in server.snapshot()[0]
    assert clients[DELAYED].session._kept() == len(b"admin\nwoohoo\n40+2\n")


def test_the_file_is_of_the_layout_from_before(monkeypatch: pytest.MonkeyPatch) -> None:
    upgraded: list[Login] = []

    def note(login: Login) -> None:
        upgraded.append(login)

    monkeypatch.setattr(Login, "upgrade_to_version_2", note)
    load: Callable[[bytes], Any] = load_graph
    sessions = load(GOLDEN.read_bytes()).connections
    assert len(upgraded) == 3
    assert sessions[VERIFYING].check is None
    assert sessions[VERIFYING].login.typed
