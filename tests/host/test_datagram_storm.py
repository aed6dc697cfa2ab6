"""SIGKILL at random instants under datagrams: the counts of a real process show each loss."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from by_hand import Server, free_port, wait_for
from datagram_service import make_application

WINDOW = 20
KILLS = 6


def test_kills_under_datagrams(tmp_path: Path) -> None:
    """Each datagram is counted once; an answer may come twice, and is the same then."""
    port = free_port()
    server = Server(tmp_path, make_application(f"udp:127.0.0.1:{port}"))
    server.start()
    chance = random.Random(7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        client.settimeout(120)
        counts: dict[int, int] = {}
        repeated = 0
        sent = 0
        try:
            for _ in range(KILLS):
                for _ in range(chance.randrange(5, 60)):
                    for _ in range(WINDOW):
                        client.send(b"%d" % sent)
                        sent += 1
                    if len(counts) < sent - WINDOW * 2:
                        repeated += collect(client, counts, sent - WINDOW * 2)
                before = server.child()
                server.kill()
                repeated += collect(client, counts, sent)
                wait_for_next(server, before)
            assert sorted(counts.values()) == list(range(1, sent + 1))
            assert list(counts) == list(range(sent)), "the order was not kept"
            assert repeated <= KILLS, "more than the one in whose answer the kill fell"
            assert server.stop() == 0
        except BaseException:
            print(server.log())
            raise
        finally:
            server.end()


def wait_for_next(server: Server, before: int | None) -> None:
    wait_for(lambda: server.child() not in (None, before), "next process")


def collect(client: socket.socket, counts: dict[int, int], until: int) -> int:
    """Read answers until `until` datagrams have theirs; return how many came again."""
    repeated = 0
    while len(counts) < until:
        count, number = map(int, client.recv(100).split())
        if number in counts:
            assert counts[number] == count, "run twice"
            repeated += 1
        counts[number] = count
    return repeated
