"""The turn's interface to careful mode, in which risky work runs alone.

`net.turn.careful` does the work; the other parts of the turn always call this module,
in careful mode or not. It also records what requested the result of a thread
or a task at a start, so that this result is run alone, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tapd.errors import DescriptorLost
from tapd.net import authors
from tapd.net.streams.datagrams import DatagramPort
from tapd.net.streams.guard import Guard
from tapd.net.streams.stream import Stream
from tapd.net.turn.careful import Careful
from tapd.net.turn.schedule import Schedule
from tapd.store.journal.records import Identity
from tapd.values import Value


class Asker(Value):
    """What requested the result of a thread or task at a start; it asks again after a kill."""

    kind: str
    key: int
    skip: Callable[[], object]


class Trials:
    """Runs work alone in careful mode, else as usual.

    Owns `careful`, and the current asker of results.

    Attributes:
        careful: the careful mode after an unclean death, until it is over; else None.
    """

    def __init__(self, schedule: Schedule, guard: Guard) -> None:
        self.careful: Careful | None = None
        self._schedule = schedule
        self._guard = guard
        self._asker: Asker | None = None

    @property
    def level(self) -> int:
        """How many processes in a row died before they had settled."""
        return self.careful.level if self.careful is not None else 0

    def run_waiting(self, events: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Run the input that waited at the start, where that is due; return other epoll events."""
        careful = self.careful
        if careful is None:
            return events
        if not careful.is_over():
            return careful.run(events)
        held = careful.settle()
        self.careful = None
        for stream in held:
            stream.thaw()
            if stream.may_run_kept():
                self.go_on_reading(stream)
        return events

    def alone(
        self,
        kind: str,
        key: int,
        run: Callable[[], object],
        what: Callable[[], str],
        skip: Callable[[], object] = lambda: None,
        *,
        may_wait: bool = False,
    ) -> None:
        """Run work that each start repeats: as `Careful.alone` where that is due."""
        if self.careful is None:
            run()
        else:
            self.careful.alone(kind, key, run, what, skip, may_wait=may_wait)

    def may_receive(self, port: DatagramPort, identity: Identity) -> bool:
        """Whether `port` may run that datagram: not if it is poison input."""
        careful = self.careful
        return careful is None or careful.may_run(f"datagram {port}", identity[0])

    def go_on_reading(self, stream: Stream) -> None:
        """Run what the protocol of `stream` kept back, unit by unit where that is due."""
        careful = self.careful
        if careful is None or not careful.is_single or not self._guard.count(stream, "kept_bytes"):
            self._guard.call(stream, "reading_resumed")
        else:
            careful.hold(stream)

    # --- the results of threads and tasks ------------------------------------------

    @contextlib.contextmanager
    def asking(self, kind: str, key: int, skip: Callable[[], object]) -> Iterator[None]:
        """Attribute requests for results of threads and tasks in the block, at a start.

        Args:
            kind: the kind of asker, as in `Careful.alone`.
            key: which of that kind.
            skip: called where one of the results has killed the server each time.
        """
        self._asker = Asker(kind, key, skip)
        try:
            yield
        finally:
            self._asker = None

    def take_asker(self) -> Asker | None:
        """Return the current asker, and count its result as awaited; None after the start."""
        asker = self._asker
        if asker is not None and self.careful is not None:
            self.careful.awaited += 1
        return asker

    def hand_in(self, asker: Asker | None, function: Callable[[], object]) -> None:
        """Run `function`, which takes a result, in the next turn, and by itself after deaths.

        Args:
            asker: what requested it, at a start; else None.
            function: what to run.
        """
        if asker is None or self.careful is None:
            self._schedule.call(function)
        else:
            self._schedule.call(lambda: self._hand_in_alone(asker, function))

    def _hand_in_alone(self, asker: Asker, function: Callable[[], object]) -> None:
        if self.careful is not None:
            self.careful.awaited -= 1

        def run() -> None:
            try:
                with self.asking(asker.kind, asker.key, asker.skip):
                    function()
            except DescriptorLost:
                raise
            except BaseException as error:
                authors.failed(f"taking a result that {asker.kind} {asker.key} asked for", error)

        try:
            self.alone(
                f"result for {asker.kind}", asker.key, run,
                lambda: f"a result that {asker.kind} {asker.key} had asked for", asker.skip,
            )  # fmt: skip
        except BaseException as error:  # of the commit: no fault of a call's
            self._schedule.break_off(error)
            raise
