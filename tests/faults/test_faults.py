"""A part of the enumeration: each call, at some of its numbers; `make soak` does the rest."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from tests.faults.calls import ERRORS, KILLED_AT
from tests.faults.rig import (
    ANY,
    KILL,
    MANAGER,
    PROCESSES,
    SAVER,
    SERVER,
    Injection,
    Outcome,
    count_calls,
    run,
    why_not,
)
from tests.faults.verdict import find_faults

# How many of all the numbers that a call has in a process are tried here. The rest are
# once each, where the process makes the call.
KILLS = {
    SERVER: {"write": 3, "sendto": 2, "fsync": 2, "rename": 2, "recvfrom": 2},
    SAVER: {"write": 1, "fsync": 2, "rename": 1},
    MANAGER: {"recvmsg": 1, "clone": 1, "pidfd_open": 1},
    ANY: {"futex": 1, "openat": 2},
}  # fmt: skip
ONCE = {
    SERVER: [call for call in KILLED_AT if call not in KILLS[SERVER]],
    SAVER: ["openat", "linkat", "unlink", "exit_group"],
    MANAGER: [],
    ANY: [],
}
FAILING = [
    ("write", "ENOSPC"), ("write", "EIO"), ("write", "EINTR"), ("fsync", "EIO"),
    ("fdatasync", "EIO"), ("rename", "ENOSPC"), ("linkat", "EIO"), ("unlink", "EIO"),
    ("accept4", "EMFILE"), ("accept4", "ENOMEM"), ("sendto", "EAGAIN"), ("sendto", "EINTR"),
    ("recvfrom", "EINTR"), ("recvfrom", "EAGAIN"), ("epoll_wait", "EINTR"), ("clone", "EAGAIN"),
    ("pipe2", "EMFILE"), ("pidfd_open", "EMFILE"),
]  # fmt: skip


@functools.cache
def without() -> Outcome:
    """Return how the scenario goes without a fault."""
    return run()


@functools.cache
def numbers(process: str, call: str) -> tuple[tuple[int, int], ...]:
    """Return every number that a call has, as (life, number)."""
    counts = _counts(process)
    return tuple(
        (life, number)
        for life, name in sorted(counts)
        if name == call
        for number in range(1, counts[life, name] + 1)
    )


@functools.cache
def _counts(process: str) -> dict[tuple[int, str], int]:
    return count_calls(process)


def spread(process: str, call: str, count: int, what: str = KILL) -> Iterator[Injection]:
    """Yield `count` injections, from the first of a call's numbers to the last."""
    there = numbers(process, call)
    for index in range(min(count, len(there))):
        life, number = there[(2 * index + 1) * len(there) // (2 * count)]
        yield Injection(call, number, life, what, process)


def check(injection: Injection) -> None:
    outcome = run(injection)
    faults = find_faults(outcome, without(), injection)
    again = f"python tests/faults --log --repeat {injection}"
    assert not faults, "\n".join([again, *faults, outcome.log])


def test_strace_is_there_where_it_must_be() -> None:
    assert not why_not()


def test_the_scenario_without_a_fault() -> None:
    """Counts without a gap, over all clients; and a second time it is the same."""
    once = without()
    assert find_faults(run(), once, None) == []
    answers = [line.split(" ")[0] for lines in once.transcripts.values() for line in lines]
    counts = sorted(int(word) for word in answers if word.isdecimal())
    assert counts == list(range(1, counts[-1] + 1))
    assert once.lives == 3


def test_a_fault_is_made_and_seen() -> None:
    """A kill starts the server once more, a lost line is found: the rig can fail."""
    injection = next(spread(SERVER, "sendto", 1))
    outcome = run(injection)
    assert outcome.was_hit
    assert outcome.lives == 4
    del outcome.transcripts["early"][3]
    assert find_faults(outcome, without(), injection) != []


@pytest.mark.parametrize(
    ("process", "call", "count"),
    [
        *(
            (process, call, count)
            for process in PROCESSES
            for call, count in KILLS[process].items()
        ),
        *((process, call, 1) for process in PROCESSES for call in ONCE[process]),
    ],
)
def test_killed_at(process: str, call: str, count: int) -> None:
    tried = [*spread(process, call, count)]
    if call in KILLS[process]:
        assert len(tried) == count, f"{process} makes {call} {len(tried)} times only"
    for injection in tried:
        check(injection)


@pytest.mark.parametrize(("call", "error"), FAILING)
def test_failing(call: str, error: str) -> None:
    assert error in ERRORS[call]
    for injection in spread(SERVER, call, 1, error):
        check(injection)
