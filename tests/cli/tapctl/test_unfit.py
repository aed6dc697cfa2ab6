"""Classes that can't take what was saved: refused by reload and verify, outlived by a start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from by_hand import wait_for
from reloaded_server import MODULE, VERSION_1, Client, Reloaded, tapctl

FITTING = VERSION_1.replace(
    "class Desk",
    """import collections, enum


class Colour(enum.Enum):
    RED = 1


Place = collections.namedtuple("Place", "x y")


class Player:
    def __init__(self, name):
        self.name, self.points = name, 0


class Desk""",
).replace(
    "        self.service.count += 1\n",
    """        self.service.count += 1
        if line == "join":
            self.service.players = [Player("host"), Player("guest")]
            self.service.colour, self.service.place = Colour.RED, Place(1, 2)
        elif line == "play":
            self.service.players[0].points += 1
            line = str((self.service.players[0].points, self.service.colour.name))
""",
)
UNFITTING = (
    FITTING.replace("    RED = 1", "    GREEN = 1")
    .replace('"x y"', '"x z"')
    .replace(
        "    def __init__(self, name):",
        "    def __setstate__(self, state):\n        raise SystemExit(3)\n\n"
        "    def __init__(self, name):",
    )
)
REASONS = (
    f"players[0] ({MODULE}.Player): its state can't be set: SystemExit: 3",
    f"players[1] ({MODULE}.Player): its state can't be set: SystemExit: 3",
    (
        f"colour ({MODULE}.Colour): making it failed: LookupError: its member RED (1) is gone, and "
        "GREEN has its value now"
    ),
    f"place ({MODULE}.Place): making it failed: TypeError: its field y is gone",
)


@pytest.fixture
def reloaded(tmp_path: Path) -> Iterator[Reloaded]:
    reloaded = Reloaded(tmp_path)
    reloaded.server.start()
    yield reloaded
    reloaded.server.end()


@pytest.fixture
def client(reloaded: Reloaded) -> Iterator[Client]:
    client = Client(reloaded.port)
    yield client
    client.close()


def test_the_life_of_what_does_not_fit(reloaded: Reloaded, client: Client) -> None:
    reloaded.install(FITTING)
    reloaded.reload("resumed 'counting'")
    assert client.ask(b"join\n") == "one 1 join"
    assert client.ask(b"play\n") == "one 2 (1, 'RED')"
    first = reloaded.server.child()
    # Code that can't take it is refused, and the old serves on.
    reloaded.install(UNFITTING)
    refused = tapctl(reloaded, "reload", "counting", status=65).stderr
    assert "4 saved objects do not fit the code: " in refused
    assert "the old code serves on" in refused
    verified = tapctl(reloaded, "verify", "counting", "--upgrade", status=65).stderr
    for told in (refused, verified):
        for reason in REASONS:
            assert f"application.services['counting'].{reason}" in told
        assert "Nothing is lost: fix the classes, or go back to the code that saved this" in told
    assert reloaded.server.child() == first
    assert client.ask(b"play\n") == "one 3 (2, 'RED')"
    # A process that is killed has no choice: it goes on, and says so.
    reloaded.server.kill()
    wait_for(lambda: "unfit, kept as it was saved: " in reloaded.server.log(), "a word of it")
    assert client.ask(b"hello\n") == "one 4 hello"
    for reason in REASONS:
        assert f"unfit, kept as it was saved: application.services['counting'].{reason}" in (
            reloaded.server.log()
        )
    status = json.loads(tapctl(reloaded, "status", "counting", "--json").stdout)
    assert (status["unfit_count"], status["losses"]) == (4, 0)
    assert "unfit  4, kept as saved" in tapctl(reloaded, "status", "counting").stdout
    # It is saved as it is; who looks at the file is told.
    tapctl(reloaded, "checkpoint", "counting")
    assert "objects kept unfit: 4" in tapctl(reloaded, "verify", "counting", status=65).stdout
    shown = tapctl(reloaded, "show", "counting", "--depth", "9").stdout
    assert "4, kept as they were saved" in shown
    # Code that is mended gets it back.
    reloaded.install(FITTING)
    reloaded.reload("resumed 'counting'")
    assert client.ask(b"play\n") == "one 5 (3, 'RED')"
    tapctl(reloaded, "checkpoint", "counting")
    assert tapctl(reloaded, "verify", "counting").stdout.splitlines()[0].endswith(": good")


def test_new_code_that_loads_and_could_not_save_is_refused(
    reloaded: Reloaded, client: Client
) -> None:
    reloaded.install(FITTING)
    reloaded.reload("resumed 'counting'")
    assert client.ask(b"join\n") == "one 1 join"
    reloaded.install(
        FITTING.replace(
            "    def __init__(self, name):",
            "    def __reduce__(self):\n        return Player, (self.title,)\n\n"
            "    def __init__(self, name):",
        )
    )
    refused = tapctl(reloaded, "reload", "counting", status=65).stderr
    assert "could not be saved again, and would be lost" in refused
    assert f"players[0] ({MODULE}.Player)" in refused
    assert client.ask(b"play\n") == "one 2 (1, 'RED')"


def test_a_service_that_does_not_fit_is_not_served(reloaded: Reloaded, client: Client) -> None:
    """Nobody could be answered; what is saved stays."""
    assert client.ask(b"a\nhal") == "one 1 a"
    reloaded.install(
        VERSION_1.replace(
            "    protocol = Desk",
            "    protocol = Desk\n\n    def __setstate__(self, state):\n        raise KeyError(1)",
        )
    )
    assert "services['counting']" in tapctl(reloaded, "reload", "counting", status=65).stderr
    reloaded.server.kill()
    wait_for(lambda: "a service can't be started: " in reloaded.server.log(), "refusal")
    reloaded.install(VERSION_1)
    assert client.ask(b"f\n") == "one 2 half"
