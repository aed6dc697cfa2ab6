"""Hosted third-party asyncio protocols in a real process that is restarted and killed."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from by_hand import Server, free_port, wait_for
from hosted_service import make_application


class Hosting:
    """The server, and its ports."""

    def __init__(self, directory: Path) -> None:
        self.http, self.streams, self.buffered = (free_port() for _ in range(3))
        addresses = (f"127.0.0.1:{port}" for port in (self.http, self.streams, self.buffered))
        self.server = Server(directory, make_application(*addresses))
        self.server.start()

    def strike(self, how: str) -> None:
        """Kill or restart the server; return when the next one is there."""
        server = self.server
        before = server.child()
        answers = server.log().count(" answers on ")
        if how == "restart":
            server.restart()
        else:
            server.kill()
        wait_for(lambda: server.log().count(" answers on ") >= answers + 3, "next process")
        assert server.child() != before

    def line(self, port: int) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", port), timeout=120)


@pytest.fixture
def hosting(tmp_path: Path) -> Iterator[Hosting]:
    made = Hosting(tmp_path)
    try:
        yield made
    except BaseException:
        print(made.server.log())
        raise
    finally:
        print(made.server.log())
        made.server.end()


def get(client: http.client.HTTPConnection, path: str) -> bytes:
    client.request("GET", path)
    return client.getresponse().read()


def test_idle_connections_go_on(hosting: Hosting) -> None:
    """A keep-alive HTTP client and an asyncio stream see neither a restart nor a SIGKILL."""
    client = http.client.HTTPConnection("127.0.0.1", hosting.http, timeout=120)
    fresh = hosting.line(hosting.http)
    line, buffered = hosting.line(hosting.streams), hosting.line(hosting.buffered)
    assert get(client, "/a") == b"/a/a"
    sock = client.sock
    for number, how in enumerate(("restart", "kill", "kill")):
        line.sendall(b"%d\n" % number)
        assert line.recv(100) == b"echo %d\n" % number
        buffered.sendall(b"eleven byte")
        assert sum(len(buffered.recv(100)) for _ in range(1)) in (5, 10, 11)
        wait_until_idle(hosting)
        hosting.strike(how)
        assert get(client, f"/{how}") == f"/{how}/{how}".encode()
        assert client.sock is sock, "the same connection"
    fresh.sendall(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
    assert fresh.recv(1000).endswith(b"/late/late")
    line.shutdown(socket.SHUT_WR)
    assert line.recv(100) == b"bye\n"
    assert line.recv(100) == b""
    for each in (client, fresh, line, buffered):
        each.close()


def wait_until_idle(hosting: Hosting) -> None:
    """The streams' servers have no hook: they are idle once they were quiet for 0.2 s."""
    journal = hosting.server.tap.with_suffix(".d")
    sizes: list[int] = []

    def settled() -> bool:
        sizes.append(sum(path.stat().st_size for path in journal.glob("journal-*")))
        return len(sizes) > 200 and len(set(sizes[-200:])) == 1  # a second, or more

    wait_for(settled, "quiet")


def test_a_busy_connection_is_closed_after_a_kill(hosting: Hosting) -> None:
    line = hosting.line(hosting.http)
    line.sendall(b"GET /slower HTTP/1.1\r\nHost: x\r\n\r\n")
    got = line.recv(1000)
    hosting.strike("kill")
    while data := line.recv(1000):
        got += data
    assert got.count(b"/slower") == 1, "what was written was sent, and nothing else"
    line.close()


def test_a_restart_waits_for_a_busy_connection(hosting: Hosting) -> None:
    line = hosting.line(hosting.http)
    line.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    hosting.strike("restart")
    got = b""
    while not got.endswith(b"/slow/slow"):
        data = line.recv(1000)
        assert data, got
        got += data
    line.sendall(b"GET /more HTTP/1.1\r\nHost: x\r\n\r\n")
    assert line.recv(1000).endswith(b"/more/more")
    line.close()


def test_flow_control_reaches_the_coroutine(hosting: Hosting) -> None:
    """`drain` waits while nobody reads: the server's memory stays as it was."""
    line = hosting.line(hosting.streams)
    child = hosting.server.child()

    def memory_kib() -> int:
        text = Path(f"/proc/{child}/smaps_rollup").read_text()
        return sum(int(row.split()[1]) for row in text.splitlines() if "Private" in row)

    before = memory_kib()
    line.sendall(b"big 30000000\n")
    got = len(line.recv(1000))
    assert memory_kib() - before < 20_000
    while got < 30_000_000 + len(b"echo big 30000000\n"):
        data = line.recv(1 << 20)
        assert data
        got += len(data)
    line.close()
    assert hosting.server.child() == child
