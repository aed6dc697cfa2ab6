"""A chat room: names, arrivals and departures, and a history of the last lines.

tapd-mktap app chat:Room --port 9000
"""

from __future__ import annotations

import collections

from tapd import LineProtocol, Service, Transport

HISTORY_LINES = 10


class Person(LineProtocol):
    """One connection: a person, once they have given a name."""

    service: Room
    name = ""

    def connection_made(self, transport: Transport) -> None:
        self.send_line("What is your name?")

    def line_received(self, line: str) -> None:
        words = line.strip()
        if not self.name:
            self.service.enter(self, words)
        elif words == "/who":
            self.send_line("Here are " + ", ".join(self.service.people))
        elif words == "/quit":
            self.transport.close()
        elif words:
            self.service.tell_all(f"<{self.name}> {words}")

    def connection_lost(self, exc: Exception | None) -> None:
        if self.name:
            self.service.leave(self)


class Room(Service):
    """Everybody who is here, by name, and the last lines."""

    protocol = Person

    def __init__(self) -> None:
        self.people: dict[str, Person] = {}
        self.history: collections.deque[str] = collections.deque(maxlen=HISTORY_LINES)

    def enter(self, person: Person, name: str) -> None:
        """Admit `person` as `name`, unless the name is taken."""
        if not name.isidentifier() or name in self.people:
            person.send_line("That name won't do. Another?")
            return
        for line in self.history:
            person.send_line(line)
        person.name = name
        self.people[name] = person
        self.tell_all(f"* {name} is here")

    def leave(self, person: Person) -> None:
        """Remove `person`, who has left."""
        del self.people[person.name]
        self.tell_all(f"* {person.name} has left")

    def tell_all(self, line: str) -> None:
        """Send `line` to everybody, and remember it."""
        self.history.append(line)
        for person in self.people.values():
            person.send_line(line)
