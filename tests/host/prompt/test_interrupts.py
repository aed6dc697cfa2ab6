"""Interrupting typed code: only its own session can, and only while it runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tapd.host.prompt.interrupts import INTERRUPT, TypedCode


class Person:
    """A session in whose connection so many Ctrl-C wait."""

    waiting = 0

    def interrupts_waiting(self) -> int:
        return self.waiting


@pytest.fixture
def code() -> Iterator[TypedCode]:
    before = signal.getsignal(INTERRUPT)
    code = TypedCode()
    code.allow_interrupts()
    yield code
    signal.signal(INTERRUPT, before)


def test_nothing_is_interrupted_while_no_typed_code_runs(code: TypedCode) -> None:
    signal.raise_signal(INTERRUPT)
    code.interrupt_if_asked()


def test_an_authors_handler_of_sigusr1_stays() -> None:
    def own(_number: int, _frame: object) -> None: ...

    before = {number: signal.getsignal(number) for number in (INTERRUPT, signal.SIGUSR1)}
    signal.signal(signal.SIGUSR1, own)
    try:
        TypedCode().allow_interrupts()
        assert signal.getsignal(signal.SIGUSR1) is own
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_each_ctrl_c_that_waits_interrupts_once(code: TypedCode) -> None:
    person = Person()
    code.begin(person)
    code.interrupt_if_asked()
    for waiting in (1, 2):
        person.waiting = waiting
        with pytest.raises(KeyboardInterrupt):
            code.interrupt_if_asked()
        code.interrupt_if_asked()
    code.ask_again()
    with pytest.raises(KeyboardInterrupt):
        code.interrupt_if_asked()


def test_a_shells_signal_interrupts_its_own_code_only(code: TypedCode) -> None:
    code.begin(Person())
    signal.raise_signal(INTERRUPT)
    code.is_signalled = True
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(INTERRUPT)


def test_a_ctrl_c_does_not_reach_the_code_of_another(code: TypedCode) -> None:
    first, second = Person(), Person()
    first.waiting = 1
    code.begin(first)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [INTERRUPT])
    code.interrupt_if_asked()
    code.begin(second)
    code.is_signalled = True
    signal.pthread_sigmask(signal.SIG_SETMASK, before)  # where the signal is delivered
