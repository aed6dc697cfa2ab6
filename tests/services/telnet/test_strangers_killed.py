"""Strangers at a real server that is killed: who is honest gets in, and the log stays short."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import argon2
from by_hand import free_port, serving

from tapd.model.access.accounts import Account
from tapd.model.application import QUEUE_GROUP_MAX, Application
from tapd.services.telnet import ShellFactory
from tapd.services.telnet.login import LINES_AT_ONCE

HOSTILE, HONEST = "127.0.0.66", "127.0.0.1"
# Some milliseconds, so that checks are waiting when the server is killed.
_HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash("woohoo")
LIVES = 3


def connect(port: int, source: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 120, source_address=(source, 0))


def read_until(sock: socket.socket, *ends: bytes) -> bytes:
    """Return what comes up to one of `ends`, or to the end of the connection."""
    data = b""
    while not data.endswith(ends):
        chunk = sock.recv(65536)
        if not chunk:
            break
        data += chunk
    return data


def test_who_is_honest_gets_in_beside_strangers_and_kills(tmp_path: Path) -> None:
    port = free_port()
    application = Application("shell")
    service = ShellFactory()
    service.failure_delay_s = 0.01
    application.listen(f"127.0.0.1:{port}", service)
    application.authorizer.accounts["admin"] = Account("admin", _HASH)
    with serving(tmp_path, application) as server, contextlib.ExitStack() as sockets:
        hostile = []
        for _ in range(LIVES):
            for _ in range(2 * QUEUE_GROUP_MAX):
                sock = sockets.enter_context(connect(port, HOSTILE))
                sock.sendall(b"admin\nwrong\n")
                hostile.append(sock)
            for _ in range(2 * QUEUE_GROUP_MAX):
                with contextlib.suppress(OSError), connect(port, HOSTILE) as gone:
                    gone.sendall(b"admin\nwrong\n")
            honest = sockets.enter_context(connect(port, HONEST))
            honest.sendall(b"admin\nwoohoo\n'in'\n")
            server.kill_and_go_on()
            assert read_until(honest, b"'in'\r\n>>> ").endswith(b"'in'\r\n>>> ")
        for sock in hostile:
            answer = read_until(sock, b"Login incorrect.\r\nusername: ")
            if b"Login incorrect." not in answer:
                assert answer.endswith(b"for your address; try again later.\r\n")
        # A few at once, then one in ten seconds, of each life; in three minutes at the most.
        lines = server.log().count("login failed")
        assert lines <= (LIVES + 1) * LINES_AT_ONCE + 20
