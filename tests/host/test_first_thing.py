"""Plain instances in a list survive kills of a real server between typed lines."""

from __future__ import annotations

import socket
from pathlib import Path

from by_hand import free_port, serving, wait_for
from players_service import make_players


def test_a_player_has_a_point_for_each_line(tmp_path: Path) -> None:
    port = free_port()
    with (
        serving(tmp_path, make_players(port)) as server,
        socket.create_connection(("127.0.0.1", port), timeout=120) as client,
    ):
        lines = client.makefile("rwb")
        for number, name in enumerate(("ann", "bob", "cid"), 1):
            lines.write(name.encode() + b"\n")
            lines.flush()
            people = lines.readline().split()
            assert people[0] == b"host=%d" % number
            assert len(people) == number + 1
            before = server.child()
            assert server.kill()
            wait_for(lambda: server.child() not in (None, before), "next process")  # noqa: B023
