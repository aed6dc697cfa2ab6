"""Ends a forked copy of the server as soon as it returns to the turn.

Authors' code that forks returns twice: in the server, and in a copy of it with the server's
whole memory. The author's code may do in the copy what it likes; once it returns to the
turn, the copy has nothing more to do. It ends there, before it runs another callback, and
writes nothing. `host.forks` applies this.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NoReturn

from tapd.net.turn.commit import Commits
from tapd.net.turn.connections import Connections
from tapd.net.turn.listener import Listeners
from tapd.net.turn.ports import Ports
from tapd.net.turn.schedule import Schedule
from tapd.net.turn.trials import Trials
from tapd.net.turn.turn import Turn

_exit = os._exit  # typed code may replace `os._exit`


def end_quietly(*_args: Any, **_kwargs: Any) -> NoReturn:
    """End this copy of the server, without any clean-up."""
    _exit(0)


class _NoCalls(collections.deque[Callable[[], object]]):
    """Replaces the list of calls that a turn makes."""

    def append(self, _call: Callable[[], object], /) -> None:
        """Ignore the call: this process ends soon."""

    popleft: ClassVar[Any] = end_quietly


class _DeadTurn(Turn):
    run: ClassVar[Any] = end_quietly
    finish: ClassVar[Any] = end_quietly
    close: ClassVar[Any] = end_quietly
    stop_listening: ClassVar[Any] = end_quietly
    change_journal: ClassVar[Any] = end_quietly
    _run_timer: ClassVar[Any] = end_quietly


class _DeadSchedule(Schedule):
    break_off: ClassVar[Any] = end_quietly


class _DeadTrials(Trials):
    alone: ClassVar[Any] = end_quietly


class _DeadConnections(Connections):
    attach: ClassVar[Any] = end_quietly
    lose: ClassVar[Any] = end_quietly
    receive: ClassVar[Any] = end_quietly
    run_stream: ClassVar[Any] = end_quietly
    externalise: ClassVar[Any] = end_quietly
    close_ended: ClassVar[Any] = end_quietly
    _refuse: ClassVar[Any] = end_quietly


class _DeadPorts(Ports):
    receive: ClassVar[Any] = end_quietly
    externalise: ClassVar[Any] = end_quietly
    stop: ClassVar[Any] = end_quietly
    __iter__: ClassVar[Any] = end_quietly  # between the starts of two services


class _DeadListeners(Listeners):
    accept: ClassVar[Any] = end_quietly
    stop: ClassVar[Any] = end_quietly
    connections_max = property(end_quietly)  # asked before each accept


class _DeadCommits(Commits):
    commit: ClassVar[Any] = end_quietly
    change_journal: ClassVar[Any] = end_quietly
    _append: ClassVar[Any] = end_quietly
    _note_sent: ClassVar[Any] = end_quietly


def kill_turn(turn: Turn) -> None:
    """Make `turn`, in a copy of the process, end the process at its next step.

    The parts of the turn get other classes in place, so all references to them are to dead
    ones. Methods that authors may call have no effect outside of the process.
    """
    turn.schedule.calls = _NoCalls()
    turn.schedule.__class__ = _DeadSchedule
    turn.trials.__class__ = _DeadTrials
    turn.connections.__class__ = _DeadConnections
    turn.ports.__class__ = _DeadPorts
    turn.listeners.__class__ = _DeadListeners
    turn.commits.__class__ = _DeadCommits
    turn.__class__ = _DeadTurn


def descriptors_of(turn: Turn) -> Iterator[int]:
    """Yield all descriptors that `turn` reads and writes; the turn still owns them."""
    watched = turn.sockets.by_fd.values()
    for each in (*watched, *turn.streams.values(), *turn.ports, *turn.listeners):
        yield each.sock.fileno()
    if not turn.sockets.epoll.closed:
        yield turn.sockets.epoll.fileno()
    journal: Any = turn.commits.journal
    yield getattr(journal, "fd", -1)
    yield from turn.connections.vault.descriptors()
