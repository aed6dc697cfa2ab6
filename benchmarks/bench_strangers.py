"""What strangers cost a telnet server: those who connect, send something and can't log in.

Prints a line for each attack: how long an honest login from another address took while
it went on, the server's largest memory, its processor time, how much its journal and its
log grew. A real server, under the embedded manager; the attackers' addresses are of
127.0.0.0/8, all of one attack on one of them, the honest client on another.
``python benchmarks/bench_strangers.py [ATTACK...]``.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "support")]

from by_hand import Server, free_port, serving  # noqa: E402

from tapd.model.application import Application  # noqa: E402
from tapd.services.telnet import ShellFactory  # noqa: E402

PASSWORD = "woohoo"
HOSTILE, HONEST = "127.0.0.66", "127.0.0.1"
LOGIN_TIMEOUT_S = 180.0
WATCHED_EACH_S = 0.02


def connect(port: int, source: str) -> socket.socket:
    """Return a connection from the address `source`."""
    return socket.create_connection(("127.0.0.1", port), 30, source_address=(source, 0))


def log_in(port: int) -> float | None:
    """Log in honestly; return how long it took in seconds, None where it did not come to it."""
    began_s = time.monotonic()
    try:
        with connect(port, HONEST) as sock:
            sock.settimeout(LOGIN_TIMEOUT_S)
            sock.sendall(f"admin\n{PASSWORD}\n".encode())
            data = b""
            while b">>> " not in data:
                chunk = sock.recv(65536)
                if not chunk:
                    return None
                data += chunk
    except OSError:
        return None
    return time.monotonic() - began_s


# --- attacks: each returns the connections that it holds ------------------------------------


def nothing(_port: int) -> list[socket.socket]:
    """Be nobody."""
    return []


def type_ahead(port: int, count: int) -> list[socket.socket]:
    """Send a name, a wrong password and 60 KiB more."""
    held = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            sock = connect(port, HOSTILE)
            sock.setblocking(False)
            held.append(sock)
            sock.send(b"admin\nwrong\n" + b"x" * (60 << 10))
    return held


def wrong_and_gone(port: int, count: int) -> list[socket.socket]:
    """Send a name and a wrong password, and close at once."""
    for _ in range(count):
        with contextlib.suppress(OSError), connect(port, HOSTILE) as sock:
            sock.sendall(b"admin\nwrong\n")
    return []


def wrong_and_stay(port: int, count: int) -> list[socket.socket]:
    """Send a name and a wrong password, three times, and stay."""
    held = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            sock = connect(port, HOSTILE)
            held.append(sock)
            sock.sendall(b"admin\nwrong\n" * 3)
    return held


def idle(port: int, count: int) -> list[socket.socket]:
    """Connect, and say nothing."""
    held = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            held.append(connect(port, HOSTILE))
    return held


def drip(port: int, count: int) -> list[socket.socket]:
    """Send a name of 500 bytes, a byte at a time."""
    held = []
    with contextlib.suppress(OSError):
        held = idle(port, count)
    for sock in held:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(500):
        for sock in held:
            with contextlib.suppress(OSError):
                sock.send(b"x")
    return held


Attack = Callable[[int], list[socket.socket]]
ATTACKS: dict[str, Attack] = {
    "nobody": nothing,
    "100 type 60 KiB ahead": lambda port: type_ahead(port, 100),
    "300 type 60 KiB ahead": lambda port: type_ahead(port, 300),
    "500 wrong, gone": lambda port: wrong_and_gone(port, 500),
    "2,000 wrong, gone": lambda port: wrong_and_gone(port, 2000),
    "300 wrong, stay": lambda port: wrong_and_stay(port, 300),
    "1,000 idle": lambda port: idle(port, 1000),
    "20 drip 500 bytes": lambda port: drip(port, 20),
}


# --- what is measured ---------------------------------------------------------------------------


class Cost(NamedTuple):
    """What one attack cost.

    Attributes:
        login_s: how long the honest login took; None where it failed.
        memory_bytes: the server's largest resident memory.
        processor_s: the server's processor time.
        journal_bytes: what its journals grew by.
        log_lines: lines that it logged.
        log_bytes: their bytes.
    """

    login_s: float | None
    memory_bytes: int
    processor_s: float
    journal_bytes: int
    log_lines: int
    log_bytes: int


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process (proc_pid_statm)."""
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf(
        "SC_PAGE_SIZE"
    )


def processor_s(pid: int) -> float:
    """Return the processor time of a process (proc_pid_stat)."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def journal_bytes(server: Server) -> int:
    """Return the size of all journals that there are."""
    return sum(path.stat().st_size for path in server.tap.with_suffix(".d").glob("journal-*"))


@contextlib.contextmanager
def watching(pid: int) -> Iterator[list[int]]:
    """Note the largest resident memory of a process, in the one item of the list."""
    largest = [resident_bytes(pid)]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCHED_EACH_S):
            with contextlib.suppress(OSError):
                largest[0] = max(largest[0], resident_bytes(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield largest
    finally:
        over.set()
        thread.join()


def measure(attack: Attack) -> Cost:
    """Run `attack` on a server of its own, and an honest login beside it."""
    port = free_port()
    application = Application("shell")
    application.listen(f"127.0.0.1:{port}", ShellFactory())
    application.authorizer.add_account("admin", PASSWORD)
    with (
        tempfile.TemporaryDirectory() as directory,
        serving(pathlib.Path(directory), application) as server,
    ):
        log_in(port)  # what is imported at the first one is paid
        pid = server.child()
        assert pid is not None
        journal, log, used_s = journal_bytes(server), server.log(), processor_s(pid)
        with watching(pid) as largest:
            held = attack(port)
            login_s = log_in(port)
            if server.child() != pid:
                print("  the server was killed (by the watchdog)", file=sys.stderr)
                pid = server.child() or pid
                used_s = 0.0
            grown = server.log()[len(log) :]
            cost = Cost(
                login_s, largest[0], processor_s(pid) - used_s, journal_bytes(server) - journal,
                grown.count("\n"), len(grown),
            )  # fmt: skip
            for sock in held:
                sock.close()
    return cost


def main(names: list[str]) -> None:
    """Measure the attacks that are named, or all."""
    print(
        f"{'strangers':24}{'login':>9}{'memory':>10}{'processor':>11}{'journal':>11}"
        f"{'log':>8}{'log':>10}"
    )
    for name, attack in ATTACKS.items():
        if names and name not in names:
            continue
        cost = measure(attack)
        login = "failed" if cost.login_s is None else f"{cost.login_s:.2f} s"
        print(
            f"{name:24}{login:>9}{cost.memory_bytes / 1e6:>7.0f} MB{cost.processor_s:>9.2f} s"
            f"{cost.journal_bytes / 1024:>7.0f} KiB{cost.log_lines:>8}"
            f"{cost.log_bytes / 1024:>6.1f} KiB",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
