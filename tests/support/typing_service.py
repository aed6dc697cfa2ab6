r"""A server whose clients send code, which is run where they say.

A line is ``N PLACE CODE`` with N from 0 upwards; the answer is ``N COUNT OUT``, where
COUNT is the number of lines that the whole application has answered, and OUT the value
of ``out`` that CODE has set. PLACES are parts of a server's life that an author's code
runs in. Other clients talk with ``N - ``, which runs nothing.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

from tapd import Application, LineProtocol, Service
from tapd.model.durable.persistent import Persistent

PLACES = ("handler", "timer", "task", "callback", "thread", "own_thread", "made", "lost", "save")


class Typing(LineProtocol):
    """Runs what a line says."""

    service: Room

    def connection_made(self, transport: Any) -> None:
        code, self.service.at_made = self.service.at_made, ""
        if code:
            run(code, self.service)
            self.service.told["made"] = "made"

    def connection_lost(self, exc: Exception | None) -> None:
        code, self.service.at_lost = self.service.at_lost, ""
        if code:
            run(code, self.service)
            self.service.told["lost"] = "lost"

    def line_received(self, line: str) -> None:
        number, place, code = line.split(" ", 2)
        service = self.service
        application = service.application
        match place:
            case "-":
                self.answer(number)
            case "handler":
                self.answer(number, run(code, service))
            case "timer":
                application.call_later(0, self.run_and_answer, number, code)
            case "task":
                application.run_coroutine(run_soon(code), then=self.taking(number))
            case "callback":
                asyncio.get_running_loop().call_soon(self.run_and_answer, number, code)
            case "thread":
                application.run_blocking(run, code, None, then=self.taking(number))
            case "own_thread":
                outs: list[Any] = []
                thread = threading.Thread(target=lambda: outs.append(run(code, None)))
                thread.start()
                thread.join()
                self.answer(number, *outs)
            case "made":
                service.at_made = code
                self.answer(number)
            case "lost":
                service.at_lost = code
                self.answer(number)
            case "save":
                service.kept = Saved(code)
                self.answer(number)
            case "told":
                self.answer(number, ",".join(sorted(service.told)))

    def taking(self, number: str) -> Callable[[Any, Any], None]:
        return lambda result, error: self.answer(number, result if error is None else error)

    def run_and_answer(self, number: str, code: str) -> None:
        self.answer(number, run(code, self.service))

    def answer(self, number: str, out: object = "") -> None:
        self.service.count += 1
        self.send_line(f"{number} {self.service.count} {out}")


class Room(Service):
    """Counts the lines of all."""

    protocol = Typing

    def __init__(self) -> None:
        self.count = 0
        self.at_made = self.at_lost = self.at_start = ""
        self.told: dict[str, str] = {}
        self.kept: object = None

    def start(self) -> None:
        code, self.at_start = self.at_start, ""
        if code:
            run(code, self)


class Saved(Persistent):
    """Runs its code when it is saved, once in a process."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __getstate__(self) -> Any:
        if (os.getpid(), self.code) not in _ran:
            _ran.add((os.getpid(), self.code))
            run(self.code, None)
        return super().__getstate__()


_ran: set[tuple[int, str]] = set()


def run(code: str, service: Any) -> Any:
    """Run `code`; return what it has set `out` to."""
    names: dict[str, Any] = {"service": service, "out": "ok"}
    exec(code.replace(";;", "\n"), names)
    return names["out"]


async def run_soon(code: str) -> Any:
    """Run `code` in a task, after a pause."""
    await asyncio.sleep(0)
    return run(code, None)


def make_typing(port: int, at_start: str = "") -> Application:
    """Return the application, listening at a port of loopback."""
    application = Application("typing")
    room = Room()
    room.at_start = at_start
    application.listen(f"127.0.0.1:{port}", room)
    return application
