"""The chat room: people stay, whatever happens to the process."""

from __future__ import annotations

from pathlib import Path

from example_play import Stage, load_example, play_everywhere, play_twice


def talk(play: Stage) -> None:
    alice = play.connect()
    alice.expect("What is your name?")
    alice.type("alice")
    alice.expect("* alice is here")
    alice.type("Is anybody there?")
    alice.expect("<alice> Is anybody there?")

    bob = play.connect()
    bob.expect("What is your name?")
    bob.type("alice")
    bob.expect("That name won't do. Another?")
    bob.type("bob")
    bob.expect("* alice is here", "<alice> Is anybody there?", "* bob is here")
    alice.expect("* bob is here")

    bob.type("/who")
    bob.expect("Here are alice, bob")
    alice.leave()
    bob.expect("* alice has left")
    bob.type("/quit")
    bob.expect_end()


def test_killed_at_every_place() -> None:
    play_everywhere(lambda: load_example("chat", "Room"), talk)


def test_nobody_notices_a_kill(tmp_path: Path) -> None:
    play_twice(tmp_path, lambda: load_example("chat", "Room"), talk)
