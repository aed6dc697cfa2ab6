"""Makes golden journals, and says what is in them.

``golden_journals.py make DIRECTORY`` writes the TAP and the journals of a server that
lived with the tapd on the path, and ``expected.json``: what that tapd restored from them.
``tests/golden/journals-0.1.0`` was made by commit ff2950e, whose records had no format
number. They are never made again: every later tapd must restore the same.
"""

from __future__ import annotations

import collections
import contextlib
import json
import pathlib
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from harness import Harness

from tapd.image.tracking.changes import Changes
from tapd.model.application import Application
from tapd.model.datagram import DatagramProtocol
from tapd.model.durable.persistent import Persistent
from tapd.model.protocols.lines import LineProtocol
from tapd.model.service import Service
from tapd.store.journal import records

NAME = "talk"


class Shared:
    """What two speakers hold, and is no durable object."""

    def __init__(self) -> None:
        self.times = 0


class Topic(Persistent):
    """What is begun while the server runs."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.seen: dict[str, int] = {}


class Speaker(LineProtocol):
    """Does what its lines say."""

    service: Talk

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.lines: list[str] = []
        self.service.present.append(self)

    def line_received(self, line: str) -> None:
        self.lines.append(line)
        verb, _, rest = line.partition(" ")
        if verb == "topic":
            self.service.topics.append(Topic(rest))
        elif verb == "seen":
            self.service.topics[-1].seen[rest] = len(self.lines)
        elif verb == "share":
            shared, votes = Shared(), collections.Counter[str]()
            for each in self.service.present:
                each.shared, each.votes = shared, votes
        elif verb == "count":
            self.shared.times += 1
            self.votes[rest] += 1
        elif verb == "all":
            for number in range(3):
                message = f"{number} {rest}\n".encode()
                for each in self.service.present:
                    each.transport.write(message)
        elif verb == "pause":
            self.transport.pause_reading()
        elif verb == "end":
            self.service.present.remove(self)
            self.transport.close()
        else:
            self.send_line(f"you said {line}")

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self.service.present:
            self.service.present.remove(self)


class Counter(DatagramProtocol):
    """Numbers the datagrams that come."""

    count = 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.count += 1
        self.transport.sendto(b"%d %b" % (self.count, data), addr)


class Talk(Service):
    """A service of speakers, and of datagrams."""

    protocol = Speaker
    datagram_protocol = Counter

    def __init__(self) -> None:
        super().__init__()
        self.present: list[Any] = []
        self.topics: list[Topic] = []


def describe(restored: Any) -> dict[str, Any]:
    """Return what was restored, as values that JSON holds."""
    history, service = restored.history, restored.application.services["talk"]
    trial = history.trial
    return {
        "records": restored.records,
        "boot_id": history.boot_id,
        "clean": history.clean,
        "level": history.level,
        "falls": history.falls,
        "fell": history.fell,
        "trial": trial and [trial.kind, trial.key, trial.position, trial.attempt],
        "skipped": sorted(map(list, history.skipped)),
        "streams": [
            [
                stream.key, stream.cookie, stream.is_unix, stream.sent_base, stream.taken,
                stream.out_start, stream.output.decode(), int(stream.flags), stream.reads,
                stream.last_read,
            ]
            for _key, stream in sorted(history.streams.items())
        ],
        "ports": [
            [name, [*map(repr, port.batch)], port.sent, [*map(repr, port.pending)]]
            for name, port in sorted(history.ports.items())
        ],
        "lines": [list(each.lines) for each in service.present],
        "shared": [getattr(each, "shared", None) and each.shared.times for each in service.present],
        "votes": [dict(getattr(each, "votes", {})) for each in service.present],
        "is_shared": len({id(getattr(each, "shared", None)) for each in service.present}),
        "topics": [[each.text, dict(each.seen)] for each in service.topics],
        "count": [port.protocol.count for port in restored.application.ports if port.protocol],
    }  # fmt: skip


def make(directory: pathlib.Path) -> None:
    """Live, be killed, live again, and be killed: the files stay as they are then."""
    with tempfile.TemporaryDirectory() as place, _ports() as (port, client):
        application = Application(NAME, uid=1000, gid=1000)
        service = Talk()
        application.add_service(service, NAME)
        application.listen(f"udp:127.0.0.1:{port.getsockname()[1]}", service)
        harness = Harness(pathlib.Path(place), application, family="unix", datagrams=port)
        try:
            live(harness, port, client)
            harness.give_up()
            expected = describe(harness.state.restore())
            _copy(pathlib.Path(place), directory)
        finally:
            harness.close()
    (directory / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


@contextlib.contextmanager
def _ports() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield a datagram port and a client's."""
    with contextlib.ExitStack() as stack:
        made = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for each in made:
            stack.enter_context(each)
            each.bind(("127.0.0.1", 0))
        yield made[0], made[1]


def live(harness: Harness, port: socket.socket, client: socket.socket) -> None:
    """Have each kind of record written."""
    first, second, third, fourth = (harness.connect() for _ in range(4))
    first.send(b"hello\ntopic one\n")
    second.send(b"share\n")
    second.send(b"count mine\n")
    first.send(b"seen first\nincomplete")
    second.send(b"all of you\n")
    fourth.send(b"end\n")
    harness.save()
    first.send(b" no more\ntopic two\nseen second\n")
    third.send(b"pause\n")
    third.sock.sendall(b"unread\n")
    for data in (b"one", b"two"):
        client.sendto(data, port.getsockname())
    harness.pump()
    first.sock.sendall(b"hello again\n")
    harness.start_unclean(2)  # the second start is careful: it marks what it tries
    harness.pump()
    harness.connect().send(b"late\n")
    first.send(b"count mine\n")
    second.send(b"count yours\nall once more\n")
    second.send(b"end\n")
    journal = harness.serving.commits.journal
    assert journal is not None
    row = (9, 99, False, 1000, 7, 3, b"not sent", int(records.Flag.CLOSING), 2)
    pieces = [([b"to ", b"both"], [1, 5])]
    moves: list[Any] = [(3, 13, [b"in ", b"pieces"], int(records.Flag.EOF_RECEIVED))]
    journal.append(records.render_turn([], moves, [], Changes(), pieces, [], [row]))
    journal.append(records.render_settled())
    journal.append(records.render_progress(("input", 9)))
    journal.append(records.render_try("input", 1, 7, 2))


def _copy(place: pathlib.Path, directory: pathlib.Path) -> None:
    """Keep what a restore reads."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(place / f"{NAME}.tap", directory)
    within = directory / f"{NAME}.d"
    within.mkdir(exist_ok=True)
    for path in (place / f"{NAME}.d").iterdir():
        if path.name.startswith(("journal-", "generation-", "last-", "synced")):
            shutil.copy(path, within)


if __name__ == "__main__":
    import golden_journals  # the same file, under a name that lasts

    golden_journals.make(pathlib.Path(sys.argv[1]))
