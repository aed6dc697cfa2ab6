"""Folding of journal records, for every form of output in them."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.image.tracking.changes import Changes
from tapd.store.journal.history import History
from tapd.store.journal.records import (
    Move,
    Open,
    Share,
    StreamState,
    render_base,
    render_progress,
    render_settled,
    render_start,
    render_try,
    render_turn,
)

KEYS = st.integers(1, 6)
PIECES = st.lists(st.binary(max_size=5), max_size=4)
MOVES = st.lists(st.tuples(KEYS, st.integers(0, 99), PIECES | st.binary(max_size=9), st.just(0)))
SHARES = st.lists(st.tuples(PIECES, st.lists(KEYS, unique=True)))


def begun(*keys: int) -> History:
    history = History()
    history.apply(
        render_base("boot", 0, [StreamState(key, key, False, 0) for key in keys], clean=False)
    )
    return history


@given(MOVES, SHARES)
def test_a_record_adds_up(moves: list[Move], shares: list[Share]) -> None:
    """Output in pieces, shared or not, is what the streams would have had one by one."""
    history = begun(1, 2, 3)
    history.apply(render_turn([], moves, [], Changes(), shares))
    expected = {1: b"", 2: b"", 3: b""}
    for key, _taken, output, _flags in moves:
        if key in expected:
            expected[key] += output if isinstance(output, bytes) else b"".join(output)
    for pieces, keys in shares:
        for key in keys:
            if key in expected:
                expected[key] += b"".join(pieces)
    assert {key: bytes(state.output) for key, state in history.streams.items()} == expected


def test_a_record_of_0_1_0_is_read() -> None:
    """It had no shared output, and its output was always one piece."""
    history = begun(1, 2)
    opens: list[Open] = [(3, 33, False, 7)]
    history.apply(pickle.dumps(("turn", opens, [(1, 5, b"abc", 0)], [2], [], [], []), 5))
    assert sorted(history.streams) == [1, 3]
    assert (history.streams[1].taken, bytes(history.streams[1].output)) == (5, b"abc")
    assert history.streams[3].sent_base == 7


def test_what_goes_to_many_is_in_the_record_once() -> None:
    message = b"m" * 1000
    pieces = [message, b"n" * 1000]
    moves: list[Move] = [(1, 9, list(pieces), 0)]
    record = render_turn([], moves, [], Changes(), [([message], [2, 3]), (pieces, [4, 5, 6])])
    assert len(record) < 2200


UP = render_progress()
INPUT = render_try("input", 1, 0, 1)


@pytest.mark.parametrize(
    ("lives", "falls"),
    [
        ([[UP]] * 9, 0),  # killed from outside, between two turns
        ([[UP, render_settled()]] * 9, 0),
        ([[]] * 9, 9),  # killed by its start, each time
        ([[UP, INPUT]] * 9, 1),  # each skips something: it gets on
        ([[], [], [UP], [], []], 2),
        ([[INPUT]] * 3 + [[UP, INPUT], [INPUT]], 2),
    ],
)
def test_what_slows_a_start_down(lives: list[list[bytes]], falls: int) -> None:
    """How many processes in a row died of the same thing, at the end of the last of `lives`."""
    history = begun(1)
    for level, life in enumerate(lives, 1):
        for payload in [render_start("boot", level), *life]:
            history.apply(payload)
    assert (history.falls + 1 if history.fell else 0) == falls
