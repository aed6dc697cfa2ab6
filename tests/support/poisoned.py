"""A server of which each hook can be told what to do: raise something, or kill.

`POISON` says it, by the name of the hook and of whose it is: ``data_received c1``. It is
no part of the state, so a hook does the same in each process. The death of a process is
`Killed`, which `deadly` lets through where the exceptions of authors' code end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tapd.errors import StartFailed
from tapd.image import hooks
from tapd.model.application import Application
from tapd.model.datagram import DatagramProtocol
from tapd.model.protocol import Protocol
from tapd.model.service import Service
from tapd.net import authors
from tapd.net.turn import recovery

POISON: dict[str, Callable[[], BaseException]] = {}


class Killed(BaseException):
    """The process dies here."""


def strike(hook: str, whose: str) -> None:
    """Do what the hook was told to do."""
    make = POISON.get(f"{hook} {whose}")
    if make is not None:
        raise make()


def deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `Killed` end the process, whoever catches what authors' code raises."""
    failed, is_of_hook = authors.failed, hooks.is_of_hook

    def let_through(where: str, error: BaseException, *args: Any) -> None:
        if isinstance(error, Killed):
            raise error
        failed(where, error, *args)

    def let_start(*args: Any) -> StartFailed:
        if isinstance(args[-1], Killed):
            raise args[-1]
        return start_failure(*args)

    start_failure = recovery._start_failure
    monkeypatch.setattr(recovery, "_start_failure", let_start)
    monkeypatch.setattr(authors, "failed", let_through)
    monkeypatch.setattr(
        hooks,
        "is_of_hook",
        lambda error, **kwargs: not isinstance(error, Killed) and is_of_hook(error, **kwargs),
    )


class Thing:
    """A plain object with hooks of pickling."""

    def __init__(self, whose: str) -> None:
        self.whose = whose

    def __reduce__(self) -> Any:
        strike("reduce", self.whose)
        return Thing, (self.whose,)


class Odd:
    """One whose state is asked for."""

    def __init__(self, whose: str) -> None:
        self.whose = whose

    def __getstate__(self) -> Any:
        strike("getstate", self.whose)
        return self.__dict__


class Talk(Protocol):
    """A connection, named by its first line. Each line is answered with a shared count."""

    service: House

    def __init__(self) -> None:
        self.name = ""
        self.half = b""
        self.things: list[Any] = []

    def __repr__(self) -> str:
        strike("repr", self.name)
        return f"<Talk {self.name}>"

    @property
    def eof_received(self) -> Any:
        """Looked up and called: both are its author's."""
        strike("property", self.name)
        return self._eof

    def _eof(self) -> bool:
        strike("eof_received", self.name)
        return False

    def connection_made(self, transport: Any) -> None:
        self.name = self.service.next_name
        strike("connection_made", self.name)
        transport.write(b"hello\n")

    def connection_resumed(self) -> None:
        application = self.service.application
        application.call_later(1e9, ring, "far off")  # which takes a number
        strike("connection_resumed", self.name)
        self.things = [Thing(f"{self.name}-resumed")]
        application.run_blocking(strike, "thread", self.name, then=self.take_result)

    def take_result(self, _result: Any, error: BaseException | None) -> None:
        strike("result", self.name)
        application = self.service.application
        application.run_blocking(int, then=self.take_second)

    def take_second(self, _result: Any, _error: BaseException | None) -> None:
        strike("second result", self.name)

    def data_received(self, data: bytes) -> None:
        *lines, self.half = (self.half + data).split(b"\n")
        for line in lines:
            self.obey(line.decode())
            self.service.count += 1
            self.transport.write(b"%d\n" % self.service.count)

    def obey(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        application = self.service.application
        match word:
            case "strike":
                strike("data_received", self.name)
            case "thing":
                self.things.append(Thing(rest))
            case "odd":
                self.things.append(Odd(rest))
            case "timer":
                application.call_later(60, ring, rest)
            case "connect":
                second = application.services["second"]
                assert isinstance(second, House)
                second.next_name = "far"
                application.connect(rest, second)

    def connection_lost(self, exc: Exception | None) -> None:
        strike("connection_lost", self.name)

    def connection_ended(self) -> None:
        strike("connection_ended", self.name)


def ring(whose: str) -> None:
    """What a timer calls."""
    strike("timer", whose)


class House(Service):
    """The service of all connections."""

    def __init__(self) -> None:
        self.count = 0
        self.next_name = ""

    def __repr__(self) -> str:
        strike("repr", "house")
        return "<House>"

    def build_protocol(self, peer: Any) -> Protocol:
        strike("build_protocol", self.next_name)
        return Talk()

    def start(self) -> None:
        strike("start", self.name)

    def stop(self) -> None:
        strike("stop", self.name)


class Post(DatagramProtocol):
    """Answers datagrams with a shared count."""

    def connection_resumed(self) -> None:
        strike("connection_resumed", "post")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        strike("datagram_received", "post")
        self.transport.sendto(data, addr)


def make_application() -> Application:
    """Return the application: a house, and another that starts after it."""
    application = Application("poisoned")
    house = application.add_service(House(), name="house")
    application.listen("127.0.0.1:0", house)
    application.add_service(House(), name="second")
    return application
