"""What runs beside the turns, as an author asks for it."""

from __future__ import annotations

import asyncio

import pytest

from tapd import Application, AuthorError, LineProtocol, Service
from tapd.testing import Host


async def reverse(text: str) -> str:
    await asyncio.sleep(1)
    if not text:
        raise ValueError("there is nothing to reverse")
    return text[::-1]


class Asker(LineProtocol):
    def line_received(self, line: str) -> None:
        application = self.service.application
        if line == "divide":
            application.run_blocking(divmod, 17, 0, then=self.done)
        elif line.isdigit():
            application.run_blocking(divmod, 17, int(line), then=self.done)
        elif line == "cancel":
            application.run_coroutine(reverse(line), then=self.done)()
        else:
            application.run_coroutine(reverse(line), then=self.done)

    def done(self, result: object, error: BaseException | None) -> None:
        self.send_line(f"{result} {type(error).__name__}")


class Asking(Service):
    protocol = Asker


def test_results_and_errors_come_back_in_a_turn() -> None:
    with Host(Asking) as host:
        peer = host.connect()
        for line, answer in (
            ("5", "(3, 2) NoneType"),
            ("divide", "None ZeroDivisionError"),
            ("cancel", "None CancelledError"),
        ):
            peer.send_line(line)
            peer.expect_line(answer)
        for line, answer in (("evil", "live NoneType"), ("", "None ValueError")):
            peer.send_line(line)
            peer.expect_nothing()
            host.clock.advance(1)
            peer.expect_line(answer)


def test_an_application_that_does_not_run_can_run_nothing() -> None:
    application = Application("a")
    with pytest.raises(AuthorError, match="not running"):
        application.run_blocking(divmod, 17, 5, then=print)
