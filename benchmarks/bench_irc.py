"""IRC: messages delivered a second, memory for each idle client, time to register and join.

``python benchmarks/bench_irc.py [NAME=HOST:PORT:PID ...]`` runs tapd under the
embedded manager, durable, and then each other server named, in the same way: a
process of its own holds the clients; some of them talk, all count what comes.
A delivery is one message that arrived at one client.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import pathlib
import select
import socket
import sys
import tempfile
import time
from multiprocessing.connection import Connection

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "support")]

from by_hand import free_port, serving  # noqa: E402

from tapd.model.application import Application  # noqa: E402
from tapd.services.irc import IrcNetwork  # noqa: E402

TEXT = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all."
SCENARIOS = ((1, 500), (1, 100), (100, 20))
DELIVERIES = 400_000
WINDOW = 20
"""Messages of one talker that are on their way at most; it waits for its own last one."""


@dataclasses.dataclass(slots=True)
class Client:
    """One connection of the load's."""

    sock: socket.socket
    nick: str
    channel: str
    tail: bytes = b""


def register_all(address: tuple[str, int], channels: int, members: int) -> list[Client]:
    """Connect, register and join `members` clients to each of `channels`."""
    clients: list[Client] = []
    count = channels * members
    for start in range(0, count, 50):
        batch = []
        for number in range(start, min(start + 50, count)):
            sock = socket.create_connection(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Nicks of their own in each scenario: the last one's may not have left yet.
            nick = f"u{channels}x{members}n{number}"
            sock.sendall(f"NICK {nick}\r\nUSER {nick} 0 * :{nick}\r\n".encode())
            sock.setblocking(False)
            batch.append(Client(sock, nick, f"#c{number % channels}"))
        wait_for(batch, b" 001 ")
        for each in batch:
            each.sock.send(f"JOIN {each.channel}\r\n".encode())
        wait_for(batch, b" 366 ")
        clients += batch
    return clients


def wait_for(clients: list[Client], mark: bytes) -> None:
    """Read until `mark` has come to each client; PINGs are answered."""
    waiting = {each.sock.fileno(): each for each in clients}
    poll = select.epoll()
    for fd in waiting:
        poll.register(fd, select.EPOLLIN)
    while waiting:
        events = poll.poll(30)
        assert events, f"{mark!r} does not come: {next(iter(waiting.values())).tail!r}"
        for fd, _event in events:
            each = waiting.get(fd)
            if each is None:
                continue
            data = each.sock.recv(1 << 16)
            assert data, "the server closed a connection"
            each.tail += data
            if each.tail.startswith(b"PING ") or b"\nPING " in each.tail:
                token = each.tail.rpartition(b"PING ")[2].partition(b"\r\n")[0]
                each.sock.send(b"PONG " + token + b"\r\n")
            if mark in each.tail:
                each.tail = b""
                del waiting[fd]
                poll.unregister(fd)
    poll.close()


def drain(clients: list[Client], quiet_s: float = 0.3) -> None:
    """Read until nothing has come for `quiet_s`."""
    poll = select.epoll()
    by_fd = {each.sock.fileno(): each for each in clients}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    while events := poll.poll(quiet_s):
        for fd, _event in events:
            by_fd[fd].sock.recv(1 << 20)
    poll.close()


def talk(clients: list[Client], channels: int, members: int) -> float:
    """Have one client of each channel talk until enough was delivered; return deliveries/s."""
    talkers = clients[:channels]
    each_says = max(WINDOW, DELIVERIES // (channels * (members - 1)))
    expected = each_says * (members - 1) * channels
    poll = select.epoll()
    by_fd = {each.sock.fileno(): each for each in clients}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    said = dict.fromkeys((each.sock.fileno() for each in talkers), 0)
    delivered = 0

    def say(fd: int) -> None:
        each = by_fd[fd]
        count = min(WINDOW, each_says - said[fd])
        if count:
            data = f"PRIVMSG {each.channel} :{TEXT}\r\n" * count + "PING next\r\n"
            said[fd] += count
            each.sock.setblocking(True)
            each.sock.sendall(data.encode())
            each.sock.setblocking(False)

    started = time.perf_counter()
    for fd in said:
        say(fd)
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    while delivered < expected:
        events = poll.poll(30)
        assert events, f"{delivered} of {expected} deliveries, and no more come"
        for fd, _event in events:
            count = by_fd[fd].sock.recv_into(buffer)
            assert count, "the server closed a connection"
            data = bytes(view[:count])
            if fd in said:
                if b"\n" in data:  # it hears nothing but its PONGs
                    say(fd)
            else:
                delivered += data.count(b"\n")
    seconds = time.perf_counter() - started
    poll.close()
    return expected / seconds


def load(pipe: Connection, address: tuple[str, int]) -> None:
    """Run all scenarios in this process; wait for a word between them."""
    for channels, members in SCENARIOS:
        started = time.perf_counter()
        clients = register_all(address, channels, members)
        joined_s = time.perf_counter() - started
        drain(clients)
        pipe.send(("joined", joined_s))
        pipe.recv()
        pipe.send(("delivered", talk(clients, channels, members)))
        pipe.recv()
        for each in clients:
            each.sock.close()
        pipe.send(("closed", 0.0))
        pipe.recv()


def private_kib(pid: int) -> int:
    """Return the memory of a process's own, in KiB (proc_pid_smaps_rollup)."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def bench(name: str, address: tuple[str, int], pid: int) -> None:
    """Print the figures of one server."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=load, args=(theirs, address))
    process.start()
    for channels, members in SCENARIOS:
        count = channels * members
        before_kib, before_s = private_kib(pid), cpu_s(pid)
        _, joined_s = ours.recv()
        each_kib = (private_kib(pid) - before_kib) / count
        joined_cpu_s = cpu_s(pid) - before_s
        ours.send("go on")
        before_s = cpu_s(pid)
        _, rate = ours.recv()
        busy_s = cpu_s(pid) - before_s
        print(
            f"{name:>10}: {channels:3} x {members:3}: {rate:9,.0f} deliveries/s "
            f"({DELIVERIES / busy_s if busy_s else 0:9,.0f} for a second of its processor); "
            f"{count} joined in {joined_s:.2f} s ({joined_cpu_s:.2f} s of it its own); "
            f"{each_kib:.2f} KiB each"
        )
        ours.send("go on")
        ours.recv()
        ours.send("go on")
    process.join()


def main() -> None:
    """Run tapd, then the others that are named."""
    port = free_port()
    application = Application("irc")
    application.listen(f"127.0.0.1:{port}", IrcNetwork("Bench", "irc.bench.internal", 0.0))
    with (
        tempfile.TemporaryDirectory() as directory,
        serving(pathlib.Path(directory), application) as server,
    ):
        bench("tapd", ("127.0.0.1", port), server.child() or 0)
    for argument in sys.argv[1:]:
        name, _, rest = argument.partition("=")
        host, port_text, pid_text = rest.split(":")
        bench(name, (host, int(port_text)), int(pid_text))


if __name__ == "__main__":
    main()
