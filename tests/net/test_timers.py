"""Timers outlive crashes, and each fires once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from harness import Harness

from tapd.model.application import Application
from tapd.model.protocol import Protocol
from tapd.model.service import Service

Serve = Callable[..., Harness]


class Alarm(Protocol):
    """``SECONDS`` asks for a ring then; ``cancel`` takes the last one back."""

    service: AlarmService

    def data_received(self, data: bytes) -> None:
        if data == b"cancel":
            self.service.last.cancel()
        else:
            application = self.service.application
            self.service.last = application.call_later(float(data), self.ring, data)

    def ring(self, data: bytes) -> None:
        self.service.rung.append(data)
        if self.is_connected:
            self.transport.write(b"ring " + data)


class AlarmService(Service):
    protocol = Alarm

    def __init__(self) -> None:
        self.rung: list[bytes] = []
        self.last: Any = None


def begin(serve: Serve) -> Harness:
    application = Application("a")
    application.add_service(AlarmService())
    return serve(application)


def rung(harness: Harness) -> list[bytes]:
    return list(harness.application.services["alarmservice"].rung)


def test_a_timer_fires_once_however_often_it_is_killed(serve: Serve) -> None:
    harness = begin(serve)
    peer = harness.connect()
    peer.send(b"0.05")
    harness.crash()
    assert len(harness.application.delayeds) == 1
    harness.wait_for(lambda: rung(harness))
    harness.crash()
    harness.save()
    harness.crash()
    harness.pump()
    assert rung(harness) == [b"0.05"]
    assert peer.read() == b"ring 0.05"
    assert not harness.application.delayeds


def test_one_that_fell_due_while_the_server_was_down_fires_at_the_start(serve: Serve) -> None:
    harness = begin(serve)
    peer = harness.connect()
    peer.send(b"0")
    harness.application.delayeds  # noqa: B018 - what follows is about the next process
    harness.crash()
    harness.pump()
    assert rung(harness) == [b"0"]
    assert peer.read() == b"ring 0"


def test_cancelled_ones_never_fire(serve: Serve) -> None:
    harness = begin(serve)
    peer = harness.connect()
    peer.send(b"0.01")
    peer.send(b"cancel")
    peer.send(b"0.02")
    harness.crash()
    harness.wait_for(lambda: rung(harness))
    assert rung(harness) == [b"0.02"]


def test_they_fire_in_order(serve: Serve) -> None:
    harness = begin(serve)
    for delay in (b"30", b"10", b"20"):
        harness.connect().send(delay)
    harness.crash()
    assert harness.turn is not None
    later_s = time.time() + 60
    harness.turn.runtime.now_s = lambda: later_s
    harness.pump()
    assert rung(harness) == [b"10", b"20", b"30"]
