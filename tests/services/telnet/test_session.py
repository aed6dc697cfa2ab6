"""Whole dialogues over a connection without sockets."""

from __future__ import annotations

from typing import Any

import pytest

OFFER = b"\xff\xfb\x01\xff\xfb\x03\xff\xfd\x18\xff\xfd\x1f"

LINE_DIALOGUE = (
    b"admin\r\nwoohoo\r\n1+1\r\nx = 5\r\nfor i in range(2):\r\n  print(i, x)\r\n\r\n"
    b"1/0\r\nprint('h\xc3\xa4')\r\n'abc\r\nprint('no end', end='')\r\n_\r\nquit()\r\n"
)


def test_dialogue_with_a_client_that_negotiates_nothing(server: Any) -> None:
    client = server.connect()
    output = client.read()
    assert output.startswith(OFFER)
    assert b"telnet: a telnet server of tapd 0" in output
    assert output.endswith(b"\r\nusername: ")
    client.send(b"admin\n")
    assert client.read() == b"password: "
    client.send(b"woohoo\n")
    assert client.read() == b">>> "
    client.send(b"1+1\n")
    assert client.read() == b"2\r\n>>> "
    client.send(b"x = _ + 40\nx\n")
    assert client.read() == b">>> 42\r\n>>> "
    client.send(b"quit()\n")
    assert client.read() == b""
    assert client.transport.closed


@pytest.mark.parametrize(
    "prefix",
    [b"", b"\xff\xfd\x01\xff\xfd\x03\xff\xfb\x18\xff\xfb\x1f\xff\xfa\x1f\x00\x28\x00\x18\xff\xf0"],
)
def test_killed_after_every_byte(make_server: Any, prefix: bytes) -> None:
    """Promise 3: the client's stream is the same, whenever the server is killed."""
    dialogue = prefix + LINE_DIALOGUE
    straight = make_server().connect()
    for index in range(len(dialogue)):
        straight.send(dialogue[index : index + 1])
    expected = bytes(straight.transport.output)
    assert straight.transport.closed

    server = make_server()
    client = server.connect()
    for index in range(len(dialogue)):
        server.kill()
        client.send(dialogue[index : index + 1])
        server.kill()
    assert _without_numbers(bytes(client.transport.output)) == _without_numbers(expected)


def _without_numbers(output: bytes) -> bytes:
    import re

    return re.sub(rb"<telnet \d+>", b"<telnet N>", output)
