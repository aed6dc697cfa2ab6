"""Mode strings: ``+ov-k nick nick key`` to single changes, and back.

Pure; imports the table of modes. What each change needs and does is for the
command MODE.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tapd.services.irc.wire.message import BODY_BYTES_MAX
from tapd.services.irc.wire.modes import CHANNEL_MODES, Kind


class Change(NamedTuple):
    """One change, as asked for.

    Attributes:
        on: set, else cleared.
        letter: which mode; perhaps an unknown one.
        param: its parameter; None where there is none.
    """

    on: bool
    letter: str
    param: str | None = None


def takes_parameter(letter: str, *, on: bool) -> bool:
    """Whether a channel mode takes a parameter when it is set, or cleared."""
    mode = CHANNEL_MODES.get(letter)
    if mode is None or mode.kind is Kind.FLAG:
        return False
    return on or mode.kind is not Kind.WHEN_SET


def parse_changes(modes: str, params: Sequence[str]) -> list[Change]:
    """Parse a channel's mode string and its parameters; those too many are dropped.

    A mode whose parameter is missing has None: for a list, that asks to see it.
    """
    changes = []
    left = list(params)
    on = True
    for letter in modes:
        if letter in "+-":
            on = letter == "+"
        elif takes_parameter(letter, on=on):
            changes.append(Change(on, letter, left.pop(0) if left else None))
        else:
            changes.append(Change(on, letter))
    return changes


def render_changes(changes: Iterable[Change]) -> list[str]:
    """Return changes as parameters of MODE: the mode string, then what belongs to it."""
    text = ""
    params = []
    sign: bool | None = None
    for change in changes:
        if change.on != sign:
            sign = change.on
            text += "+" if sign else "-"
        text += change.letter
        if change.param is not None:
            params.append(change.param)
    return [text, *params]


def fill_messages(changes: Iterable[Change], source: str, channel_name: str) -> Iterator[list[str]]:
    """Yield changes as the parameters of as many MODE messages as they need.

    A message that is cut at its 512 bytes would have members see other modes than the
    channel has: masks grow when they are normalized, and a source comes in front.

    Args:
        changes: which, in their order.
        source: whose they are, without the colon.
        channel_name: whose modes they are.
    """
    room = BODY_BYTES_MAX - 2 - len(f":{source} MODE {channel_name} ".encode())
    together: list[Change] = []
    size = 0
    for change in changes:
        # A sign, a letter, a space and the parameter, at the most.
        more = 3 + len((change.param or "").encode())
        if together and size + more > room:
            yield render_changes(together)
            together, size = [], 0
        together.append(change)
        size += more
    if together:
        yield render_changes(together)
