"""The first thing that anyone writes: a list of plain instances that grows, and one changes."""

from __future__ import annotations

from tapd import Application, LineProtocol, Service


class Player:
    """A plain class."""

    def __init__(self, name: str) -> None:
        self.name, self.points = name, 0


class Players(LineProtocol):
    """Adds a player for each line, and a point to the host."""

    def line_received(self, line: str) -> None:
        """Answer with everybody's points."""
        game = self.service
        assert isinstance(game, Game)
        game.players.append(Player(line))
        game.players[0].points += 1
        text = " ".join(f"{player.name}={player.points}" for player in game.players)
        self.send_line(text)


class Game(Service):
    """Holds the players."""

    protocol = Players

    def __init__(self) -> None:
        self.players = [Player("host")]


def make_players(port: int) -> Application:
    """Return the application, listening at a port of loopback."""
    application = Application("players")
    application.listen(f"127.0.0.1:{port}", Game())
    return application
