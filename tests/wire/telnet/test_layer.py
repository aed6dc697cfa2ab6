"""What client and server agree on."""

from __future__ import annotations

import pytest

from tapd.wire.telnet.codec import Negotiation, Subnegotiation
from tapd.wire.telnet.layer import Wire, count_interrupts

WILL, WONT, DO, DONT = 251, 252, 253, 254
ECHO, SGA, TTYPE, NAWS = 1, 3, 24, 31


def _wire(*answers: tuple[int, int]) -> Wire:
    wire = Wire()
    wire.offer()
    for verb, option in answers:
        wire.answer(Negotiation(verb, option))
    return wire


@pytest.mark.parametrize(
    ("answers", "echoes", "character"),
    [
        ([], False, False),  # nc
        ([(DO, ECHO)], True, False),
        ([(DO, SGA)], False, False),
        ([(DO, ECHO), (DO, SGA)], True, True),
        ([(DO, ECHO), (DONT, SGA)], True, False),
        ([(DONT, ECHO), (DO, SGA)], False, False),
        ([(DONT, ECHO), (DONT, SGA)], False, False),
        # PuTTY asks for all that by itself, before it answers
        ([(WILL, NAWS), (WILL, TTYPE), (DO, ECHO), (WILL, SGA), (DO, SGA)], True, True),
        # "mode line", then "mode character" of inetutils-telnet
        ([(DO, ECHO), (DO, SGA), (DONT, SGA), (DONT, ECHO)], False, False),
        ([(DO, ECHO), (DO, SGA), (DONT, SGA), (DONT, ECHO), (DO, SGA), (DO, ECHO)], True, True),
    ],
)
def test_modes(answers: list[tuple[int, int]], echoes: bool, character: bool) -> None:
    wire = _wire(*answers)
    assert (wire.is_echoing, wire.is_character) == (echoes, character)


def test_a_client_that_declined_is_asked_for_echo_for_secrets_only() -> None:
    wire = _wire((DO, ECHO), (DONT, SGA))
    assert wire.ask_echo(secret=False) == bytes((255, WONT, ECHO))
    wire.answer(Negotiation(DONT, ECHO))
    assert wire.ask_echo(secret=True) == bytes((255, WILL, ECHO))
    wire.answer(Negotiation(DO, ECHO))
    assert (wire.is_echoing, wire.is_character) == (True, False)
    assert wire.ask_echo(secret=False) == bytes((255, WONT, ECHO))


def test_terminal_and_width() -> None:
    wire = _wire()
    assert wire.answer(Negotiation(WILL, TTYPE)) == b"\xff\xfa\x18\x01\xff\xf0"  # RFC 1091
    assert wire.answer(Negotiation(WILL, TTYPE)) == b""
    wire.answer(Subnegotiation(TTYPE, b"\x00XTERM"))
    wire.answer(Subnegotiation(NAWS, b"\x00\x64\x00\x18"))
    assert (wire.terminal, wire.width) == ("xterm", 100)
    wire.answer(Subnegotiation(NAWS, b"\x00"))
    wire.answer(Subnegotiation(99, b"\x00"))
    assert wire.width == 100


@pytest.mark.parametrize(
    ("waiting", "count"),
    [
        (b"", 0),
        (b"\x03while True: pass\r\n", 0),
        (b"while True: pass\r\0\x03", 1),
        (b"while True: pass\n\x03\x03", 2),
        (b"\xff\xf4\xff\xf2", 1),
        (b"x\n\xff\xf3\xff\xee", 2),
    ],
)
def test_interrupts_count_after_the_last_line(waiting: bytes, count: int) -> None:
    assert count_interrupts(waiting) == count
