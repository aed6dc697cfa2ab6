"""The shell in strict mode, through real turns, crashed after each piece of input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Harness, Peer, harnesses

from tapd.model.application import Application
from tapd.services.telnet import ShellFactory


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Harness]]:
    yield from harnesses(tmp_path)


def read_until(harness: Harness, peer: Peer, text: bytes) -> bytes:
    seen = b""

    def arrived() -> bool:
        nonlocal seen
        seen += peer.read()
        return text in seen

    harness.wait_for(arrived)
    return seen


STEPS = [
    (b"x = [1, {'a': 2}]\n", b">>> "),
    (b"def f(n):\n", b"... "),
    (b"    return x[1]['a'] * n\n", b"... "),
    (b"\n", b">>> "),
    (b"x[1]['a'] = 21\n", b">>> "),
    (b"f(2)\n", b"42\r\n>>> "),
    (b"class P:\n    v = 3\n\n", b">>> "),
    (b"p = P(); p.v += 1\n", b">>> "),
    (b"p.v, _\n", b"(4, 42)\r\n>>> "),
    (b"print('h\xc3\xa9')\n", b"h\xc3\xa9\r\n>>> "),
    (b"1/0\n", b"ZeroDivisionError"),
    (b"import asyncio; await asyncio.sleep(0, 'woken')\n", b"'woken'\r\n>>> "),
]


@pytest.mark.parametrize("crashing", [False, True])
def test_a_session(serve: Callable[..., Harness], crashing: bool) -> None:
    application = Application("telnet")
    application.authorizer.add_account("admin", "woohoo")
    application.add_service(ShellFactory())
    harness = serve(application)
    peer = harness.connect()
    read_until(harness, peer, b"username: ")
    peer.send(b"ad")
    if crashing:
        harness.crash()
    peer.send(b"min\n")
    read_until(harness, peer, b"password: ")
    peer.send(b"woo")
    if crashing:
        harness.crash()
    peer.send(b"hoo\n")
    read_until(harness, peer, b">>> ")
    for typed, expected in STEPS:
        half = len(typed) // 2
        peer.send(typed[:half])
        if crashing:
            harness.crash()
        peer.send(typed[half:])
        read_until(harness, peer, expected)
        if crashing:
            harness.crash()
    assert crashing or harness.jar.checks > 30
