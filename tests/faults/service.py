r"""The server of the enumeration: every answer carries a count, so each line is unique.

A lost line, a line run twice and a line answered twice each show in a transcript.
The server's own process imports this module.
"""

from __future__ import annotations

from typing import Any

from tapd import Application, DatagramProtocol, LineProtocol, Service


class Speaker(LineProtocol):
    """One client; its first line is its name.

    ========================  ====================================================
    ``say TEXT``              ``COUNT TEXT``
    ``many NUMBER``           so many lines
    ``later``                 by a timer, a moment later: ``COUNT tick``
    ``ended NUMBER``          once so many connections have ended: ``COUNT ended``
    ``half``                  ``COUNT half``, and no more output: lines are kept
    ``quit``                  ``COUNT quit``, and the server closes
    ``after half``            no answer
    ``state``                 all of the state, on one line
    ========================  ====================================================
    """

    service: Counter

    def __init__(self) -> None:
        self.name = ""
        self.lines: list[str] = []

    def line_received(self, line: str) -> None:
        if not self.name:
            self.name = line
            self.answer(f"hello {line}")
            return
        self.lines.append(line)
        word, _, rest = line.partition(" ")
        match word:
            case "many":
                for number in range(int(rest)):
                    self.answer(f"{number:04} of many")
            case "later":
                self.service.application.call_later(0.01, self.answer, "tick")
            case "ended":
                self.service.waiting.append((int(rest), self))
                self.service.tell_ended()
            case "half":
                self.answer("half")
                self.transport.write_eof()
            case "quit":
                self.answer("quit")
                self.transport.close()
            case "state":
                self.send_line(self.service.describe())
            case "after":
                pass  # it is among the lines
            case _:
                self.answer(rest)

    def answer(self, text: str) -> None:
        """Send `text` behind the next count."""
        self.service.count += 1
        self.send_line(f"{self.service.count} {text}")

    def eof_received(self) -> bool:
        """Say good-bye; the server closes then."""
        if "half" not in self.lines:
            self.answer("bye")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end, and all that was said."""
        self.service.ended[self.name] = tuple(self.lines)
        self.service.tell_ended()


class Datagrams(DatagramProtocol):
    """Answers ``COUNT DATA``."""

    service: Counter

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Count and answer."""
        self.service.count += 1
        self.transport.sendto(b"%d %b" % (self.service.count, data), addr)


class Counter(Service):
    """Counts all answers.

    Attributes:
        count: of the last answer.
        ended: what was said on the connections that have ended, by name.
        waiting: who is to be told of how many ends.
    """

    protocol = Speaker
    datagram_protocol = Datagrams

    def __init__(self) -> None:
        self.count = 0
        self.ended: dict[str, tuple[str, ...]] = {}
        self.waiting: list[tuple[int, Speaker]] = []

    def tell_ended(self) -> None:
        """Answer those who wait for ends that have come."""
        due = [entry for entry in self.waiting if entry[0] <= len(self.ended)]
        self.waiting = [entry for entry in self.waiting if entry not in due]
        for _number, speaker in due:
            speaker.answer("ended")

    def describe(self) -> str:
        """Return all of the state but for who is there still, the same for equal states."""
        there = {speaker.name: tuple(speaker.lines) for speaker in self.connections}
        return repr((self.count, sorted({**there, **self.ended}.items())))


def make_application(*addresses: str) -> Application:
    """Return the application, answering at `addresses`."""
    application = Application("faults")
    service = application.add_service(Counter())
    for address in addresses:
        application.listen(address, service)
    return application
