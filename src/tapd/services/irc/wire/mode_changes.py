"""Mode strings: ``+ov-k nick nick key`` to single changes, and back.

Pure. The command MODE checks permissions and makes the changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tapd.services.irc.wire.message import BODY_BYTES_MAX
from tapd.services.irc.wire.modes import CHANNEL_MODES, Kind


class Change(NamedTuple):
    """One requested change.

    Attributes:
        on: set, else cleared.
        letter: of the mode; may be unknown.
        param: its parameter; None if there is none.
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
    """Parse a channel's mode string and its parameters; excess ones are dropped.

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
    """Return changes as parameters of MODE: the mode string, then their parameters."""
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

    A message cut at 512 bytes would show members other modes than the channel has.
    Normalized masks are longer, and a source comes in front.

    Args:
        changes: in order.
        source: who makes them, without the colon.
        channel_name: the channel.
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
