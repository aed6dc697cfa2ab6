"""Chess: the shortest game there is, with a spectator."""

from __future__ import annotations

from pathlib import Path

from example_play import Stage, load_example, play_everywhere, play_twice

START = (
    "8 ♜ ♞ ♝ ♛ ♚ ♝ ♞ ♜", "7 ♟ ♟ ♟ ♟ ♟ ♟ ♟ ♟", "6 · · · · · · · ·", "5 · · · · · · · ·",
    "4 · · · · · · · ·", "3 · · · · · · · ·", "2 ♙ ♙ ♙ ♙ ♙ ♙ ♙ ♙", "1 ♖ ♘ ♗ ♕ ♔ ♗ ♘ ♖",
)  # fmt: skip
MATE = (
    "8 ♜ ♞ ♝ · ♚ ♝ ♞ ♜", "7 ♟ ♟ ♟ ♟ · ♟ ♟ ♟", "6 · · · · · · · ·", "5 · · · · ♟ · · ·",
    "4 · · · · · · ♙ ♛", "3 · · · · · ♙ · ·", "2 ♙ ♙ ♙ ♙ ♙ · · ♙", "1 ♖ ♘ ♗ ♕ ♔ ♗ ♘ ♖",
)  # fmt: skip
BELOW = "  a b c d e f g h   "


def fools_mate(play: Stage) -> None:
    white = play.connect()
    white.expect(*START, BELOW + "white is here")
    black = play.connect()
    black.expect(*START, BELOW + "black is here")
    other = play.connect()
    other.expect(*START, BELOW + "a spectator is here")
    white.skip_to(BELOW + "a spectator is here")
    black.skip_to(BELOW + "a spectator is here")

    other.type("e4")
    other.expect("It is not your turn.")
    white.type("f6")
    white.expect("f6 is no legal move.")
    for player, move in ((white, "f3"), (black, "e5"), (white, "g4")):
        player.type(move)
        for each in (white, black, other):
            each.skip_to(BELOW + move)
    black.type("Qh4#")
    for each in (white, black, other):
        each.expect(*MATE, BELOW + "Qh4#")
        each.expect(*START, BELOW + "checkmate, 0-1; a new game")

    white.type("e4")
    for each in (white, black, other):
        each.skip_to(BELOW + "e4")
    white.leave()
    for each in (black, other):
        each.expect(*START, BELOW + "white has left; a new game")


def test_killed_at_every_place() -> None:
    play_everywhere(lambda: load_example("chess_game", "Table"), fools_mate)


def test_a_game_goes_on(tmp_path: Path) -> None:
    play_twice(tmp_path, lambda: load_example("chess_game", "Table"), fools_mate)
