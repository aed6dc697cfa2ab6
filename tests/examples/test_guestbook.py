"""The guest book: a browser's connection that is kept alive goes on in the next process."""

from __future__ import annotations

import contextlib
import http.client
from pathlib import Path

from by_hand import wait_for
from example_play import Play, load_example, playing


def kill(play: Play) -> None:
    """Kill the server, and wait for the next one: the connection is idle meanwhile."""
    deaths = play.server.log().count("the process before was killed")
    play.interrupt()
    wait_for(
        lambda: play.server.log().count("the process before was killed") > deaths,
        "the next process",
    )


def test_entries_and_connections_are_kept(tmp_path: Path) -> None:
    with playing(tmp_path / "server", load_example("guestbook", "GuestBook"), kills=True) as play:
        client = http.client.HTTPConnection("127.0.0.1", play.port, timeout=120)
        with contextlib.closing(client):
            client.request("POST", "/", "It was very nice.")
            assert client.getresponse().read() == b"It was very nice.\n"
            connection = client.sock
            for number in range(3):
                kill(play)
                client.request("POST", "/", f"Again {number}")
                answer = client.getresponse().read().decode().splitlines()
                assert answer == ["It was very nice.", *(f"Again {n}" for n in range(number + 1))]
            assert client.sock is connection
