"""The test helper `delivery`: waits for bytes on their way."""

from __future__ import annotations

import socket

import pytest
from delivery import SYN, was_late


@pytest.fixture
def ends() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        near = socket.create_connection(listening.getsockname())
        return near, listening.accept()[0]


def test_what_has_come_is_not_late(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    with near, far:
        far.setblocking(False)
        near.setblocking(False)
        near.sendall(b"12345")
        was_late(near, far, SYN)
        assert far.recv(2) == b"12"
        assert not was_late(near, far, SYN)
        assert far.recv(10) == b"345"
        far.sendall(b"back")
        was_late(far, near)
        assert near.recv(10) == b"back"
        near.shutdown(socket.SHUT_WR)
        assert not was_late(near, far, SYN)


def test_what_finds_no_room_is(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    with near, far:
        near.sendall(bytes(12_000))
        assert was_late(near, far, SYN)
