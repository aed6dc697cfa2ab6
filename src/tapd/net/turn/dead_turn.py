"""The turn of a process that is a copy of the server: it ends the process where it is used.

Code of an author's that forks returns twice: in the server, and in a copy of it, which
has all that the server's memory held. What the author's code does in the copy is its own
affair; once it comes back to the turn, the copy has nothing more to do. It ends there,
before it runs anybody else's callback, and writes nothing. `host.forks` says when.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NoReturn

from tapd.net.turn.turn import Turn

_exit = os._exit  # typed code may replace that of the module


def end_quietly(*_arguments: Any) -> NoReturn:
    """End this copy of the server; no clean-up of the server's is run."""
    _exit(0)


class _NoCalls(collections.deque[Callable[[], object]]):
    """In place of the calls that a turn was to make."""

    def append(self, _call: Callable[[], object], /) -> None:
        """Take no more work: whoever asks for it ends soon."""

    popleft: ClassVar[Any] = end_quietly


class DeadTurn(Turn):
    """What a `Turn` becomes in a copy of the process.

    What an author may call does nothing that leaves the process; each step of the turn
    itself ends it.
    """

    run: ClassVar[Any] = end_quietly
    commit: ClassVar[Any] = end_quietly
    break_off: ClassVar[Any] = end_quietly
    alone: ClassVar[Any] = end_quietly
    receive: ClassVar[Any] = end_quietly
    externalise: ClassVar[Any] = end_quietly
    externalise_ports: ClassVar[Any] = end_quietly
    close_ended: ClassVar[Any] = end_quietly
    attach: ClassVar[Any] = end_quietly
    lose: ClassVar[Any] = end_quietly
    finish: ClassVar[Any] = end_quietly
    close: ClassVar[Any] = end_quietly
    stop_listening: ClassVar[Any] = end_quietly
    change_journal: ClassVar[Any] = end_quietly
    _append: ClassVar[Any] = end_quietly
    _note_sent: ClassVar[Any] = end_quietly
    _accept: ClassVar[Any] = end_quietly
    _refuse: ClassVar[Any] = end_quietly
    _receive_datagrams: ClassVar[Any] = end_quietly
    _run_stream: ClassVar[Any] = end_quietly
    _run_timer: ClassVar[Any] = end_quietly
    # Asked before each accept, and between the starts of two services.
    connections_max = property(end_quietly)
    ports = property(end_quietly)

    @classmethod
    def take(cls, turn: Turn) -> None:
        """Make `turn`, of a copy of the process, a dead one."""
        turn._calls = _NoCalls()  # noqa: SLF001 - it takes the turn's place
        turn.__class__ = cls


def descriptors_of(turn: Turn) -> Iterator[int]:
    """Yield the descriptors of all that `turn` reads and writes, which stay its own."""
    for each in (*turn._by_fd.values(), *turn.streams.values(), *turn.ports, *turn.listeners):  # noqa: SLF001 - it takes the turn's place
        yield each.sock.fileno()
    if not turn._epoll.closed:  # noqa: SLF001 - it takes the turn's place
        yield turn._epoll.fileno()  # noqa: SLF001 - it takes the turn's place
    journal: Any = turn.journal
    yield getattr(journal, "fd", -1)
    yield from turn.vault.descriptors()
