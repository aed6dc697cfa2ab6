"""One message to many: deliveries a second, durable, beside bare asyncio in the same run.

For a channel of 500 members, one of 100, and 100 channels of 20, with 1 and with
16 messages in flight in each channel (a sender writes its next line when all
members have an earlier one). Prints deliveries a second of both, in turn, and
their ratio (the goal: at least 0.5). ``python benchmarks/bench_fanout.py [SECONDS]``.
"""

from __future__ import annotations

import pathlib
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "support")]

from bench_turn import wait_for_port  # noqa: E402
from by_hand import free_port, serving  # noqa: E402
from chat_servers import Chat  # noqa: E402

from tapd.model.application import Application  # noqa: E402

ROUNDS = 3
SHAPES = ((1, 500), (1, 100), (100, 20))
WINDOWS = (1, 16)
MESSAGE = b":somebody!user@host.example PRIVMSG #channel :%s\n" % (b"x" * 50)


def load(port: int, channels: int, members: int, window: int, seconds: float) -> float:
    """Chat in every channel; return deliveries a second."""
    poll = select.epoll()
    channel_of: dict[int, list[int]] = {}
    socks: dict[int, socket.socket] = {}
    senders: list[socket.socket] = []
    for number in range(channels):
        missing = [0]  # bytes that the members of this channel are still to get, all together
        for _ in range(members):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(b"%d\n" % number)
            assert sock.recv(100) == b"joined\n"
            socks[sock.fileno()] = sock
            channel_of[sock.fileno()] = missing
            poll.register(sock, select.EPOLLIN)
        senders.append(sock)
    burst = MESSAGE * window
    size = len(burst) * members
    sender_of = {id(channel_of[sock.fileno()]): sock for sock in senders}
    for sock in senders:
        channel_of[sock.fileno()][0] = size
        sock.sendall(burst)
    got = 0
    started = now = time.perf_counter()
    while now < started + seconds:
        for fd, _event in poll.poll(10, 4096):
            count = len(socks[fd].recv(1 << 16))
            got += count
            missing = channel_of[fd]
            missing[0] -= count
            if not missing[0]:
                missing[0] = size
                sender_of[id(missing)].send(burst)
        now = time.perf_counter()
    for sock in socks.values():
        sock.close()
    poll.close()
    return got / len(MESSAGE) / (now - started)


def load_apart(port: int, channels: int, members: int, window: int, seconds: float) -> float:
    """Run `load` in a process of its own."""
    arguments = [str(value) for value in (port, channels, members, window, seconds)]
    output = subprocess.run(
        [sys.executable, __file__, "load", *arguments], check=True, capture_output=True, text=True
    ).stdout
    return float(output)


def bench(seconds: float) -> None:
    """Print the table."""
    plain_port, port = free_port(), free_port()
    plain = subprocess.Popen(  # asyncio prints a line for each write to a peer that has gone
        [sys.executable, HERE / "chat_servers.py", str(plain_port)], stderr=subprocess.DEVNULL
    )
    try:
        wait_for_port(plain_port)
        with tempfile.TemporaryDirectory() as directory:
            application = Application("chat")
            application.listen(f"127.0.0.1:{port}", Chat())
            with serving(pathlib.Path(directory), application, python_path=str(HERE)):
                for channels, members in SHAPES:
                    for window in WINDOWS:
                        rates = [
                            (
                                load_apart(plain_port, channels, members, window, seconds),
                                load_apart(port, channels, members, window, seconds),
                            )
                            for _ in range(ROUNDS)
                        ]
                        asyncio_rate, durable_rate = map(
                            statistics.median, zip(*rates, strict=True)
                        )
                        ratio = statistics.median(durable / bare for bare, durable in rates)
                        print(
                            f"{channels:3d} of {members:3d}, {window:2d} in flight: "
                            f"asyncio {asyncio_rate:7.0f}/s, durable {durable_rate:7.0f}/s, "
                            f"ratio {ratio:.2f} (goal: 0.5)",
                            flush=True,
                        )
    finally:
        plain.terminate()
        plain.wait()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
    if sys.argv[1:2] == ["load"]:
        print(load(*map(int, sys.argv[2:6]), float(sys.argv[6])))
    else:
        bench(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
