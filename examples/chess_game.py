"""Chess for two: the first to connect has white, the second black, all others watch.

A player types moves in algebraic notation (e4, Nf3, O-O), or "resign". Needs the library
`chess` for the rules.

tapd-mktap app chess_game:Table --port 9000
"""

from __future__ import annotations

import chess

from tapd import LineProtocol, Service, Transport

COLOURS = ("white", "black")


class Person(LineProtocol):
    service: Table
    colour = ""  # for spectators

    def connection_made(self, transport: Transport) -> None:
        taken = [other.colour for other in self.service.people]
        self.colour = next((colour for colour in COLOURS if colour not in taken), "")
        self.service.people.append(self)
        self.service.show(f"{self.colour or 'a spectator'} is here")

    def line_received(self, line: str) -> None:
        if self.colour and line == "resign":
            self.service.end(f"{self.colour} resigns")
        elif self.colour != COLOURS[len(self.service.moves) % 2]:
            self.send_line("It is not your turn.")
        elif not self.service.play(line):
            self.send_line(f"{line} is no legal move.")

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.people.remove(self)
        if self.colour and self.service.moves:
            self.service.end(f"{self.colour} has left")


class Table(Service):
    protocol = Person

    def __init__(self) -> None:
        self.moves: list[str] = []  # the position is computed from them
        self.people: list[Person] = []

    def board(self) -> chess.Board:
        board = chess.Board()
        for move in self.moves:
            board.push_san(move)
        return board

    def play(self, move: str) -> bool:
        board = self.board()
        try:
            self.moves.append(board.san_and_push(board.parse_san(move)))
        except ValueError:
            return False
        self.show(self.moves[-1])
        if outcome := board.outcome():
            self.end(f"{outcome.termination.name.lower()}, {outcome.result()}")
        return True

    def end(self, why: str) -> None:
        self.moves.clear()
        self.show(f"{why}; a new game")

    def show(self, news: str) -> None:
        ranks = self.board().unicode(empty_square="\N{MIDDLE DOT}").split("\n")
        rows = [f"{8 - down} {rank}\r\n" for down, rank in enumerate(ranks)]
        for person in self.people:
            person.send_line("".join(rows) + f"  a b c d e f g h   {news}")
