"""Typed code that breaks the turns of all: what the others see is a pause, and it ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import argon2
import pytest
from by_hand import Server, free_port, serving
from telnet_terminal import TelnetTerminal

from tapd.model.access.accounts import Account
from tapd.model.application import Application
from tapd.services.telnet import ShellFactory

_HASH = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("woohoo")

WAYS = {
    "SystemExit in __reduce__": "import sys;sys.exit()",
    "KeyboardInterrupt in __reduce__": "raise KeyboardInterrupt",
    "CancelledError in __reduce__": "raise __import__('asyncio').CancelledError",
    "GeneratorExit in __reduce__": "raise GeneratorExit",
    "os._exit in __reduce__": "__import__('os')._exit(1)",
    "os.abort in __reduce__": "__import__('os').abort()",
}
REPLACED = ("isinstance", "len", "print", "__import__", "dict", "map", "any")


class People:
    """Two at one server: one who types what breaks it, and another."""

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
        self.breaker, self.other = [TelnetTerminal(sock.fileno()) for sock in self._sockets]
        for person in (self.breaker, self.other):
            person.expect("username: ")
            person.type("admin\n")
            person.expect("password: ")
            person.type("woohoo\n")
            person.expect(">>> ")
        self._count = 0

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()

    def check(self) -> None:
        """The other one's lines are run, once each, now and after a kill."""
        for _ in range(2):
            for _ in range(3):
                self._count += 1
                self.other.type("count = globals().get('count', 0) + 1; count\n")
                answer = self.other.expect(">>> ")
                assert answer.startswith(f"{self._count}\r\n")
            self.server.kill_and_go_on()


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    port = free_port()
    application = Application("shell")
    application.listen(f"127.0.0.1:{port}", ShellFactory())
    application.authorizer.accounts["admin"] = Account("admin", _HASH)
    with serving(tmp_path, application) as server:
        people = People(server, port)
        yield people
        people.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_hook_that_raises_or_kills_at_the_commit(people: People, way: str) -> None:
    people.breaker.type(f"class Deadly:\n def __reduce__(self): {WAYS[way]}\n\n")
    people.breaker.expect(">>> ")
    people.breaker.type("it = Deadly()\n")
    people.breaker.expect(">>> ")
    people.check()


@pytest.mark.parametrize("name", REPLACED)
def test_a_builtin_that_is_replaced(people: People, name: str) -> None:
    people.breaker.type(f"import builtins; builtins.{name} = None\n")
    people.check()


def test_an_exit_that_is_replaced_as_well(people: People) -> None:
    people.breaker.type("import builtins, os; os._exit = os.kill = None; builtins.len = None\n")
    people.check()
