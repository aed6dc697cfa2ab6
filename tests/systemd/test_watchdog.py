"""The watchdog's messages come from the loop, and stop with it."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import pytest

from tapd.systemd.notify import Notifier
from tapd.systemd.watchdog import Watchdog, watchdog_interval_s


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_interval(environ: dict[str, str], expected: float | None) -> None:
    assert watchdog_interval_s(environ) == expected


async def run_watchdog(receiver: Any, notifier: Notifier, environ: dict[str, str]) -> None:
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    messages: list[bytes] = []

    def read() -> None:
        messages.extend(receiver.read())
        if len(messages) >= 3:
            arrived.set()

    loop.add_reader(receiver.socket, read)
    with Watchdog.from_environ(environ, notifier, loop):
        messages.extend(receiver.read())
        assert messages == [b"WATCHDOG=1"], "the first at once"
        await asyncio.wait_for(arrived.wait(), 120)
        receiver.read()  # one may have come since, in the same pass of the loop
        time.sleep(0.1)  # noqa: ASYNC251 - a loop that stands still is what is tested
        assert receiver.read() == []
    loop.remove_reader(receiver.socket)
    await asyncio.sleep(0.1)
    assert receiver.read() == [], "none after the end"


def test_messages_come_from_the_loop(receiver: Any, notifier: Notifier) -> None:
    asyncio.run(run_watchdog(receiver, notifier, {"WATCHDOG_USEC": "30000"}))


def test_no_watchdog_no_message(receiver: Any, notifier: Notifier) -> None:
    async def main() -> None:
        with Watchdog.from_environ({}, notifier, asyncio.get_running_loop()):
            await asyncio.sleep(0)

    asyncio.run(main())
    assert receiver.read() == []
