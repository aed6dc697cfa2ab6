"""The notify protocol, against a real socket (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tapd.systemd.notify import Notifier


def test_state_lines(receiver: Any, notifier: Notifier) -> None:
    assert notifier.is_connected
    notifier.ready("generation 3")
    notifier.status("x")
    notifier.stopping("saving")
    notifier.extend_timeout(1.5)
    notifier.watchdog()
    assert receiver.read() == [
        b"READY=1\nSTATUS=generation 3",
        b"STATUS=x",
        b"STOPPING=1\nSTATUS=saving",
        b"EXTEND_TIMEOUT_USEC=1500000",
        b"WATCHDOG=1",
    ]


def test_reloading_tells_its_time(receiver: Any, notifier: Notifier) -> None:
    notifier.reloading()
    first, second = receiver.read()[0].split(b"\n")
    assert first == b"RELOADING=1"
    assert second.startswith(b"MONOTONIC_USEC=")
    assert second.partition(b"=")[2].isdigit()


def test_status_is_utf8_and_one_line(receiver: Any, notifier: Notifier) -> None:
    notifier.status("Größe: 3 €\nREADY=1\tž\ud800")
    assert receiver.read() == ["STATUS=Größe: 3 € READY=1 ž?".encode()]


def test_environment_is_taken_but_for_the_watchdog(receiver: Any) -> None:
    environ = {"NOTIFY_SOCKET": receiver.path, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2"}
    Notifier.from_environ(environ).close()
    assert environ == {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "2"}


def test_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"tapd-test-{os.getpid()}"
        manager.bind("\0" + name)
        notifier = Notifier.from_environ({"NOTIFY_SOCKET": "@" + name})
        assert notifier.ready()
        assert manager.recv(100) == b"READY=1"
        notifier.close()


@pytest.mark.parametrize(
    "environ", [{}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "/nonexistent/notify"}]
)
def test_without_a_manager_nothing_happens(environ: dict[str, str]) -> None:
    notifier = Notifier.from_environ(environ)
    assert not notifier.is_connected
    assert not notifier.ready("x")
    assert not notifier.watchdog()
    assert not notifier.store_fd("tapd-x", 0)
    assert not notifier.barrier(0)
    assert notifier.begin_barrier() is None


def test_store_and_remove(receiver: Any, notifier: Notifier) -> None:
    reading, writing = os.pipe()
    assert notifier.store_fd("tapd-x", reading)
    receiver.read()
    assert receiver.messages == [b"FDSTORE=1\nFDNAME=tapd-x\nFDPOLL=0"]
    os.write(writing, b"kept")
    assert os.read(receiver.stored["tapd-x"][0], 10) == b"kept"
    assert notifier.remove_fd("tapd-x")
    receiver.read()
    assert receiver.stored == {}
    os.close(reading)
    os.close(writing)


def test_barrier_waits_until_read(receiver: Any, notifier: Notifier) -> None:
    barrier = notifier.begin_barrier()
    assert barrier is not None
    assert not barrier.wait(0)
    assert receiver.read() == [b"BARRIER=1"]
    assert barrier.wait(0)
    assert barrier.wait(0), "asking again is allowed"
    open_fds = len(list(Path("/proc/self/fd").iterdir()))
    assert not notifier.barrier(0.01), "nobody reads"
    receiver.read()
    assert len(list(Path("/proc/self/fd").iterdir())) == open_fds


@pytest.mark.usefixtures("receiver")
def test_full_queue_does_not_block_the_loop(notifier: Notifier) -> None:
    """The queue holds net.unix.max_dgram_qlen messages; nobody reads them."""
    while notifier.watchdog():
        pass
    assert not notifier.status("dropped")


def test_store_waits_shortly_for_room(receiver: Any, notifier: Notifier) -> None:
    while notifier.watchdog():
        pass
    reader = threading.Thread(target=receiver.read)
    reader.start()
    assert notifier.store_fd("tapd-x", receiver.socket.fileno())
    reader.join()


def test_manager_that_went_away(receiver: Any, notifier: Notifier) -> None:
    receiver.socket.close()
    assert not notifier.ready()
    assert not notifier.store_fd("tapd-x", 0)
    receiver.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.socket.setblocking(False)
