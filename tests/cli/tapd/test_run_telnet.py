"""`make run`: its recipe, with the real commands, on a port of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from by_hand import free_port

RECIPE = Path(__file__).parents[3] / "tools" / "run-telnet"
PASSWORD = 'wo$o h"oo#'


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def environment(tmp_path: Path, port: int) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "BIN": str(Path(sys.executable).parent),
        "DIR": str(tmp_path / "a dir"),
        "PORT": str(port),
        "TAPD_PASSWORD": PASSWORD,
        "TAPD_KEY_FILE": str(tmp_path / "key"),
    }


@contextmanager
def running(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [RECIPE], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=120)[0]
        assert process.returncode == 0, rest


def read_until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"{words!r} did not appear in\n{seen}")


def log_in(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=120)
    expect(client, b"username: ")
    client.sendall(b"admin\r\n")
    expect(client, b"password: ")
    client.sendall(PASSWORD.encode() + b"\r\n")
    expect(client, b">>> ")
    return client


def expect(client: socket.socket, words: bytes) -> bytes:
    seen = b""
    while words not in seen:
        data = client.recv(4096)
        assert data, f"closed before {words!r}: {seen!r}"
        seen += data
    return seen


def command_lines() -> str:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)


def test_it_makes_a_server_once_and_goes_on_with_it(environment: dict[str, str], port: int) -> None:
    with running(environment) as process:
        said = read_until(process, f"answers on 127.0.0.1:{port}")
        assert f"telnet 127.0.0.1 {port}" in said
        assert "log in as admin" in said
        assert PASSWORD not in said + command_lines()
        with log_in(port) as client:
            client.sendall(b"x = 6\r\n")
            expect(client, b">>> ")
            client.sendall(b"import os; [v for v in os.environ.values() if 'wo$o' in v]\r\n")
            assert b"[]" in expect(client, b">>> ")
    with running(environment) as process:
        said = read_until(process, f"answers on 127.0.0.1:{port}")
        assert "Going on with" in said
        assert "give another DIR" in said
        with log_in(port) as client:
            client.sendall(b"x * 7\r\n")
            assert b"42" in expect(client, b">>> ")


def test_a_password_is_made_where_none_is_given(environment: dict[str, str], port: int) -> None:
    del environment["TAPD_PASSWORD"]
    with running(environment) as process:
        said = read_until(process, f"answers on 127.0.0.1:{port}")
        assert re.search(r"password (\w{4}-){3}\w{4}", said)


def test_a_port_in_use_leaves_nothing_behind(environment: dict[str, str], port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = subprocess.run(
            [RECIPE], env=environment, text=True, capture_output=True, check=False, timeout=120
        )
    assert done.returncode == 69
    assert "in use" in done.stderr
    assert "PORT=" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(Path(environment["DIR"]).iterdir())
