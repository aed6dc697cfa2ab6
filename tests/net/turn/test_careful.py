"""Careful mode: poison input other than lines."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from harness import Harness
from storm_service import make_application

from tapd.net.streams.stream import Stream
from tapd.net.turn.connections import Connections

Serve = Callable[..., Harness]


class Killed(KeyboardInterrupt):
    """The process dies here; asyncio lets this one through."""


@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize("before", [b"", b"0 a\n1 "])
def test_an_end_of_input_that_kills_costs_its_connection(
    serve: Serve,
    family: str,
    before: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = serve(make_application("a"), family=family)
    bad, good, late = (harness.connect() for _ in range(3))
    bad_key = min(harness.application.connections)
    receive_eof = Connections._receive_eof

    def die(self: Connections, stream: Stream) -> None:
        if stream.key == bad_key:
            raise Killed
        receive_eof(self, stream)

    monkeypatch.setattr(Connections, "_receive_eof", die)
    bad.sock.sendall(before)
    bad.sock.shutdown(socket.SHUT_WR)
    good.sock.sendall(b"0 b\n")
    good.sock.shutdown(socket.SHUT_WR)
    deaths = 0
    for _ in range(8):
        try:
            harness.pump()
        except Killed:
            deaths += 1
            harness.crash()
    assert deaths == 5
    assert bad.read_end().startswith(b"hello\n")
    assert b"bye 1\n" in good.read_end()
    late.send(b"0 c\n")
    assert b" c\n" in late.read()
    assert "the end of its input killed the server each time" in caplog.text
