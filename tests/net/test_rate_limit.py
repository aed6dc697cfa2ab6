"""Rate-limited log lines: their number and their text."""

from __future__ import annotations

import builtins
import logging
import time
from collections.abc import Iterator

import pytest

from tapd.errors import InterpreterBroken
from tapd.net.rate_limit import EACH_S, PEERS_MAX, Telling, Tellings
from tapd.testing.clock import Clock, Loop

_log = logging.getLogger("tapd.test_telling")


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def loop(clock: Clock, caplog: pytest.LogCaptureFixture) -> Iterator[Loop]:
    caplog.set_level(logging.INFO)
    loop = Loop(clock, {})
    clock.drive(loop.run_pass, loop.next_moment_s)
    yield loop
    loop.close()


def test_it_says_who_and_how_often(
    loop: Loop, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    telling = Telling(_log, loop, logging.WARNING, at_once=2)
    for number in range(100):
        peer = f"192.0.2.{0 if number < 60 else number}"
        telling.tell(f"line {number}", peer, {"TAPD_PEER": peer})
    assert [record.getMessage() for record in caplog.records] == ["line 0", "line 1"]
    clock.advance(EACH_S)
    last = caplog.records[-1]
    assert last.getMessage() == (
        "and 98 more like it (192.0.2.0 58 times, 192.0.2.60 1 times, 192.0.2.61 1 times and "
        "38 other addresses); the last: line 99"
    )
    assert last.levelno == logging.WARNING
    assert last.TAPD_PEER == "192.0.2.99"  # type: ignore[attr-defined]
    clock.advance(10 * EACH_S)
    assert len(caplog.records) == 3


def test_a_failure_that_is_only_counted_is_looked_at_all_the_same(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    telling = Telling(_log, loop, at_once=1)
    for _ in range(2):
        telling.tell("failed", error=ValueError())
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "divmod", 7)
        with pytest.raises(InterpreterBroken, match="divmod"):
            telling.tell("failed", error=ValueError())


def test_a_flood_is_one_line_in_so_many_seconds(
    loop: Loop, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    telling = Telling(_log, loop, at_once=3)
    for _ in range(1000):
        telling.tell("x" * 50)
        clock.advance(EACH_S / 100)
    assert len(caplog.records) <= 3 + 10


def test_many_addresses_are_counted_up_to_a_number(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    telling = Telling(_log, loop)
    for number in range(PEERS_MAX * 3):
        telling.tell("it", f"address {number}")
    telling.close()
    assert f"at least {PEERS_MAX - 3} other addresses" in caplog.text
    assert "and 2999 more like it" in caplog.text
    assert len(caplog.text) < 500


def test_a_kind_does_not_hide_another(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    tellings = Tellings(loop)
    for number in range(10):
        tellings.of(_log, "a").tell(f"a {number}")
    tellings.of(_log, "b").tell("b")
    assert caplog.messages == ["a 0", "b"]
    tellings.close()
    assert caplog.messages[2:] == ["and 9 more like it; the last: a 9"]


def test_a_traceback_is_told_at_once_and_not_kept(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    telling = Telling(_log, loop)
    for _ in range(3):
        telling.tell("failed", error=ValueError("no"))
    telling.close()
    assert [record.exc_info is not None for record in caplog.records] == [True, False]
