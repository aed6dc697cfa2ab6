"""The turn in a forked copy: each step of it ends the copy; methods for authors do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tapd.image.tracking.jar import Jar
from tapd.model.access.seal import Sealer
from tapd.model.application import Application
from tapd.net.turn import dead_turn
from tapd.net.turn.turn import Turn
from tapd.systemd.vault import Vault


class Ended(BaseException):
    """In place of the end of the process."""


def end(_status: int) -> None:
    raise Ended


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> Iterator[Turn]:
    monkeypatch.setattr(dead_turn, "_exit", end)
    with asyncio.Runner() as runner:
        application = Application("a")
        jar = Jar()
        jar.adopt(application)
        turn = Turn(application, jar, Vault(None), Sealer(b"k" * 32), runner.get_loop())
        application._v_runtime = turn.runtime
        close = turn.close
        dead_turn.kill_turn(turn)
        yield turn
        turn.__class__ = Turn
        close()


STEPS: dict[str, Callable[[Any], object]] = {
    "run": lambda turn: turn.run(),
    "a call": lambda turn: turn.schedule.calls.popleft(),
    "a timer": lambda turn: turn._run_timer(None),
    "break off": lambda turn: turn.schedule.break_off(ValueError()),
    "alone": lambda turn: turn.trials.alone("timer", 1, print, str),
    "read": lambda turn: turn.connections.receive(None),
    "an event": lambda turn: turn.connections.run_stream(None, 1),
    "begin": lambda turn: turn.connections.attach(None, None, None, protected=True),
    "refuse": lambda turn: turn.connections._refuse(None, 1),
    "send": lambda turn: turn.connections.externalise([]),
    "end": lambda turn: turn.connections.close_ended([]),
    "lose": lambda turn: turn.connections.lose(None, 1, None),
    "a datagram": lambda turn: turn.ports.receive(None, 1),
    "send datagrams": lambda turn: turn.ports.externalise([]),
    "each port": lambda turn: list(turn.ports),
    "accept": lambda turn: turn.listeners.accept(None),
    "may accept": lambda turn: turn.listeners.connections_max,
    "commit": lambda turn: turn.commits.commit(),
    "append": lambda turn: turn.commits._append(None, None),
    "note what was sent": lambda turn: turn.commits._note_sent([], []),
    "change the journal": lambda turn: turn.change_journal(None, "", clean=True),
    "change it by itself": lambda turn: turn.commits.change_journal(None, "", 0, clean=True),
    "stop listening": lambda turn: turn.stop_listening(),
    "finish": lambda turn: turn.finish(),
    "close": lambda turn: turn.close(),
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_each_step_ends_the_copy(dead: Turn, step: str) -> None:
    with pytest.raises(Ended):
        STEPS[step](dead)


def test_what_an_author_calls_does_not(dead: Turn) -> None:
    application = dead.application
    application.call_later(1, application.next_key)
    application.call_soon_threadsafe(print)
    application.runtime.now_s()
    assert not dead.schedule.calls
