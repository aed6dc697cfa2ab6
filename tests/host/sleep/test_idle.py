"""Scale to zero: when a server sleeps, and what wakes it, under the embedded manager."""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import time
from pathlib import Path

import pytest
from by_hand import Server, serving, wait_for
from storm_service import Counter, Numbered, make_application

from tapd.host.sleep.file import save_sleep, take_sleep
from tapd.host.sleep.idle import next_due_s
from tapd.model.application import Application


class Bell(Counter):
    """Rings once; how often, and when, are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.rung: list[float] = []

    def ring(self) -> None:
        """Note the time."""
        self.rung.append(time.time())

    def build_protocol(self, peer: object) -> BellProtocol:
        """Return what tells how often the bell rang."""
        return BellProtocol()


class BellProtocol(Numbered):
    """Says how often the bell rang, and has it ring after so many seconds."""

    def connection_made(self, transport: object) -> None:
        assert isinstance(self.service, Bell)
        self.transport.write(b"%d\n" % len(self.service.rung))

    def data_received(self, data: bytes) -> None:
        assert isinstance(self.service, Bell)
        timer = self.service.application.call_later(float(data), self.service.ring)
        self.transport.write(b"%f\n" % timer.due_s)


def visit(path: Path) -> tuple[socket.socket, bytes]:
    """Connect and return what the server says first."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(120)
    client.connect(str(path))
    return client, client.recv(100)


def times_slept(server: Server) -> int:
    """Return how often it has slept; on a slow machine also before the first client came."""
    return server.log().count("the server sleeps")


def sleeps(server: Server, times: int = 1) -> None:
    wait_for(lambda: times_slept(server) >= times, "sleeping server")
    assert server.child() is None


def test_it_sleeps_when_nobody_is_there_and_wakes_for_a_client(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with serving(tmp_path, make_application("zero", f"unix:{path}"), "--idle-exit=0.2") as server:
        client, said = visit(path)
        assert said == b"hello\n"
        client.sendall(b"0 first\n")
        assert client.recv(100) == b"0 1 first\n"
        before = server.child()
        # Longer than it needs to fall asleep, were nobody connected.
        assert not select.select([client], [], [], 0.5)[0]
        assert server.child() == before, "a connection keeps it awake"
        slept = times_slept(server)
        client.close()
        for times in range(1, 4):
            sleeps(server, slept + times)
            client, said = visit(path)
            assert said == b"hello\n"
            client.sendall(b"0 again\n")
            assert client.recv(100) == b"0 %d again\n" % (times + 1), "its state is there"
            client.close()
        assert "woken by a client" in server.log()
        assert "killed" not in server.log()
    assert server.poll() == 0


def test_it_wakes_for_its_timer_and_keeps_awake_for_one_that_is_near(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    application = Application("bell")
    application.listen(f"unix:{path}", Bell())
    with serving(
        tmp_path, application, "--idle-exit=0.3", python_path=str(Path(__file__).parents[1])
    ) as server:
        client, said = visit(path)
        assert said == b"0\n"
        client.sendall(b"6")
        due_s = float(client.recv(100))
        slept = times_slept(server)
        client.close()
        sleeps(server, slept + 1)
        assert time.time() < due_s, "it slept before"
        sleeps(server, slept + 2)
        assert time.time() >= due_s
        assert "woken by a timer" in server.log()
        client, said = visit(path)
        assert said == b"1\n"
        client.sendall(b"0.2")  # nearer than the idle time: it stays for that
        client.recv(100)
        client.close()
        sleeps(server, slept + 3)
        client, said = visit(path)
        assert said == b"2\n"
        assert server.log().count("woken by a timer") == 1
        client.close()


def test_a_stop_while_it_sleeps_is_a_clean_one(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with serving(tmp_path, make_application("still", f"unix:{path}"), "--idle-exit=0.1") as server:
        sleeps(server)
        assert server.stop() == 0
    assert not path.exists()
    assert server.tap.with_name("still-shutdown.tap").exists()


class Lingering(Counter):
    """Stops once a file is there."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def stop(self) -> None:
        """Say that it stops, and wait for the file."""
        print("the service stops", flush=True)
        wait_for(self.file.exists, "file")


def test_a_stop_while_it_falls_asleep_is_a_stop(tmp_path: Path) -> None:
    """Its timer would start it again: `systemctl stop` has to find no sleeper."""
    go_on = tmp_path / "go-on"
    application = Application("drowsy")
    application.listen(f"unix:{tmp_path / 'socket'}", Lingering(go_on))
    with serving(tmp_path, application, "--idle-exit=0.1") as server:
        wait_for(lambda: "the service stops" in server.log(), "server that falls asleep")
        server.kill(signal.SIGTERM)  # itself, and not its manager
        go_on.touch()
        wait_for(lambda: server.poll() is not None, "end")
        assert server.poll() == 0
        assert "the server sleeps" not in server.log()


def test_what_wakes_it_is_written_for_a_shell_to_read(tmp_path: Path) -> None:
    save_sleep(tmp_path, 1234.1)
    assert (tmp_path / "asleep").read_text() == "1235\n", "never early"
    os.utime(tmp_path / "asleep", (1000, 1000))
    sleep = take_sleep(tmp_path)
    assert sleep is not None
    assert (sleep.since_s, sleep.due_s) == (1000, 1235)
    assert take_sleep(tmp_path) is None
    save_sleep(tmp_path, math.inf)
    assert (tmp_path / "asleep").read_text() == "\n"
    assert take_sleep(tmp_path).due_s == math.inf  # type: ignore[union-attr]  # just written


@pytest.mark.parametrize("due_s", [math.nan, "soon"])
def test_a_timer_without_a_time_wakes_nobody(due_s: float) -> None:
    application = Application("odd")
    application.call_later(5, print).due_s = due_s
    assert next_due_s(application) == math.inf
