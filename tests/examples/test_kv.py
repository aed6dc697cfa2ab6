"""The key-value store."""

from __future__ import annotations

from pathlib import Path

from example_play import Stage, load_example, play_everywhere, play_twice


def store(play: Stage) -> None:
    client = play.connect()
    client.type("SET town Ulm on the Danube")
    client.expect("OK")
    client.type("GET town")
    client.expect("Ulm on the Danube")
    client.type("INCR visits\r\nINCR visits\r\nGET nothing\r\nNONSENSE")  # all at once
    client.expect("1", "2", "(none)", "error: what is 'NONSENSE'?")
    client.type("INCR town")
    client.expect("error: town is no number")
    client.type("EXPIRE town 1000")
    client.expect("OK")
    other = play.connect()
    other.type("DEL town\r\nDEL town")
    other.expect("OK", "(none)")
    other.type("INCR visits")
    other.expect("3")


def test_killed_at_every_place() -> None:
    play_everywhere(lambda: load_example("kv", "Store"), store)


def test_every_request_is_done_once(tmp_path: Path) -> None:
    play_twice(tmp_path, lambda: load_example("kv", "Store"), store)
