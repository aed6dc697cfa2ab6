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


@pytest.mark.parametrize(
    "typed",
    [
        "x = 5; await asyncio.sleep(100)\n",
        "await asyncio.sleep(0); x = 5; await asyncio.sleep(100)\n",
        (
            "async def f():\n    global x\n    x = 4\n    try:\n        await asyncio.sleep(0.02)\n"
            "    finally:\n        x += 1\n    await asyncio.sleep(100)\n\nawait f()\n"
        ),
        (
            "async def f():\n    global x\n    await asyncio.sleep(0.02)\n    x = 5\n"
            "    print('set')\n"
            "\nawait asyncio.sleep(0) or asyncio.create_task(f()) and None\n"
        ),
    ],
)
def test_names_set_before_an_await_outlive_a_kill(
    serve: Callable[..., Harness], typed: str
) -> None:
    """Another client may have seen what they did, long before the statement ends."""
    application = Application("telnet")
    application.authorizer.add_account("admin", "woohoo")
    application.add_service(ShellFactory())
    harness = serve(application)
    peer, other = harness.connect(), harness.connect()
    peer.send(b"admin\nwoohoo\nimport asyncio\n")
    read_until(harness, peer, b">>> >>> ")
    peer.send(typed.encode())
    names = next(iter(harness.application.services.values())).namespace.names
    harness.wait_for(lambda: names.get("x") == 5)
    other.send(b"admin\n")  # a turn that has nothing to do with it
    harness.crash()
    peer.send(b"x + 1000\n")
    read_until(harness, peer, b"1005\r\n>>> ")
