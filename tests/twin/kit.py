"""The world of production: a real service in the testing kit, with a client that types.

A turn is a line that the client sends, with the statements in it; their answers are the
line that comes back. Some kills come within a turn or a save, at the points that the
production code passes. The kit proves each turn as it does for an author.
"""

from __future__ import annotations

import ast
import contextvars
import functools
from typing import Any

from tests.twin.under import UnderTapd
from tests.twin.worlds import Entry

from tapd import Application, LineProtocol, Service
from tapd.testing import Host
from tapd.testing.process import SAVE_POINTS, TURN_POINTS

# No plain global: the kit puts those back at each kill.
_world: contextvars.ContextVar[UnderKit] = contextvars.ContextVar("_world")


class Speaker(LineProtocol):
    """Runs the statements of a line."""

    service: Keeper
    line_bytes_max = 1 << 20

    def line_received(self, line: str) -> None:
        """Answer with what the statements answer."""
        world = _world.get()
        world.names["app"] = self.service.app
        turn_names: dict[str, Any] = {}
        answers = [
            (text, answer)
            for text in ast.literal_eval(line)
            for answer in world.run_line(text, turn_names)
        ]
        self.send_line(repr(answers))


class Keeper(Service):
    """Holds the program's root.

    Attributes:
        app: that.
    """

    protocol = Speaker

    def __init__(self, app: Any) -> None:
        self.app = app


class UnderKit(UnderTapd):
    """Under tapd as it is in production."""

    is_strict = True

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__(classes)
        self._host: Host | None = None
        self._events = 0
        self._is_fresh = False

    def begin(self) -> None:
        """Begin to serve, with one client."""
        super().begin()
        _world.set(self)
        application = Application("twin")
        application.add_service(Keeper(self.app))
        self.app = None
        self._host = Host(application, raise_errors=False, strict=self.is_strict)
        self._peer = self.host.connect()

    @property
    def host(self) -> Host:
        """The host, which there is once all began."""
        assert self._host is not None
        return self._host

    def run_turn(self, number: int, lines: tuple[str, ...]) -> list[Entry]:
        """Send the statements; return what their answers are."""
        if self._is_fresh and not any("v." in line or "thread(" in line for line in lines):
            self.host.kill(at=TURN_POINTS[number % len(TURN_POINTS)])
        self._is_fresh = False
        self._peer.send_line(repr(list(lines)))
        answered = ast.literal_eval(self._peer.read_line().decode())
        return [Entry(number, f"answer of `{line}`", answer) for line, answer in answered]

    def end_turn(self) -> None:
        """Do nothing: the host does."""

    def timers(self) -> list[Any]:
        """Return none: there are real ones."""
        raise NotImplementedError

    def call_later(self, function: Any, args: tuple[Any, ...]) -> None:
        """Have a real timer."""
        self.host.application.call_later(1.0, function, *args)

    def run_in_thread(self, then: Any, value: Any) -> None:
        """Have the host run a thread."""
        self.host.application.run_blocking(functools.partial(_itself, value), then=then)

    def happen(self, event: str) -> None:
        """Let it come to the host."""
        host = self.host
        self._events += 1
        if event == "pass":
            host.clock.advance(2)
        elif event == "save":
            if self._events % 2 and not vars(self.volatile):
                host.kill(at=SAVE_POINTS[self._events // 2 % len(SAVE_POINTS)])
            host.save()
        else:
            self._end_process(event)
            self._is_fresh = event == "kill"

    def _end_process(self, event: str) -> None:
        host = self.host
        if event == "stop":
            host.stop()
        self.forget_volatile()
        self.names.pop("app", None)
        self.define()
        if event == "stop":
            host.start()
            self._peer = host.connect()
        elif event == "reload":
            host.restart()
        else:
            host.kill()

    def graph(self, number: int, what: str) -> list[Entry]:
        """Return the graph as the present process has it."""
        self.app = self.host.service().app
        try:
            return super().graph(number, what)
        finally:
            self.app = None

    def close(self) -> None:
        """End the host."""
        if self._host is not None:
            self._host.close()
        super().close()


def _itself(value: Any) -> Any:
    return value
