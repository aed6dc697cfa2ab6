"""Telnet option negotiation by the Q method (RFC 1143), as a table.

Theory of operation. Each option has two sides: whether *we* perform it (we say
WILL and WONT, the peer DO and DONT) and whether *the peer* does (the other way
round). The sides never mix, and both obey the same rules with the verbs
exchanged, so one table serves. A side is in one of six states:

    NO, YES             settled
    WANTYES, WANTNO     we asked and wait for the answer
    WANTYES_OPPOSITE,   we asked, then changed our mind before the answer came;
    WANTNO_OPPOSITE     the opposite request goes out when it does

and handles four events: the peer is for it (WILL, or DO), the peer is against
it (WONT, or DONT), we want it on, we want it off. The table gives the next
state and whether a verb is sent: "for" (DO, or WILL) or "against" (DONT, or
WONT). A verb is sent only when it changes something or answers a request, so two such
machines can never loop, whatever crosses on the wire: the point of RFC 1143.

An unsupported option stays in NO: a request for it is refused, and a refusal
is ignored; it needs no state. A request for a supported option is always
accepted. The whole state is one bytes object.
"""

from __future__ import annotations

from tapd.model.durable.persistent import Persistent
from tapd.wire.telnet.codec import Code, Negotiation, encode_negotiation

NO, YES, WANTNO, WANTNO_OPPOSITE, WANTYES, WANTYES_OPPOSITE = range(6)

_PEER_FOR, _PEER_AGAINST, _WANT_ON, _WANT_OFF = range(4)
_SEND_FOR, _SEND_AGAINST = True, False

_TABLE: dict[tuple[int, int], tuple[int, bool | None]] = {
    # The peer is for it: WILL, or DO.
    (NO, _PEER_FOR): (YES, _SEND_FOR),
    (YES, _PEER_FOR): (YES, None),
    (WANTNO, _PEER_FOR): (NO, None),  # it answered "against" with "for": an error
    (WANTNO_OPPOSITE, _PEER_FOR): (YES, None),  # likewise, but now that is wanted
    (WANTYES, _PEER_FOR): (YES, None),
    (WANTYES_OPPOSITE, _PEER_FOR): (WANTNO, _SEND_AGAINST),
    # The peer is against it: WONT, or DONT. This may never be refused.
    (NO, _PEER_AGAINST): (NO, None),
    (YES, _PEER_AGAINST): (NO, _SEND_AGAINST),
    (WANTNO, _PEER_AGAINST): (NO, None),
    (WANTNO_OPPOSITE, _PEER_AGAINST): (WANTYES, _SEND_FOR),
    (WANTYES, _PEER_AGAINST): (NO, None),
    (WANTYES_OPPOSITE, _PEER_AGAINST): (NO, None),
    # We want it on.
    (NO, _WANT_ON): (WANTYES, _SEND_FOR),
    (YES, _WANT_ON): (YES, None),
    (WANTNO, _WANT_ON): (WANTNO_OPPOSITE, None),
    (WANTNO_OPPOSITE, _WANT_ON): (WANTNO_OPPOSITE, None),
    (WANTYES, _WANT_ON): (WANTYES, None),
    (WANTYES_OPPOSITE, _WANT_ON): (WANTYES, None),
    # We want it off.
    (NO, _WANT_OFF): (NO, None),
    (YES, _WANT_OFF): (WANTNO, _SEND_AGAINST),
    (WANTNO, _WANT_OFF): (WANTNO, None),
    (WANTNO_OPPOSITE, _WANT_OFF): (WANTNO, None),
    (WANTYES, _WANT_OFF): (WANTYES_OPPOSITE, None),
    (WANTYES_OPPOSITE, _WANT_OFF): (WANTYES_OPPOSITE, None),
}


class OptionMachine(Persistent):
    """The options of one connection.

    Attributes:
        ours: the options that we can perform, as bytes of their numbers.
        theirs: the options that the peer may perform.
        states: the state of each of `ours`, then of each of `theirs`.
    """

    def __init__(self, ours: bytes, theirs: bytes) -> None:
        self.ours = ours
        self.theirs = theirs
        self.states = bytes(len(ours) + len(theirs))

    def we_do(self, option: int) -> bool:
        """Whether we perform `option`, as agreed."""
        return self._state(self.ours.find(option)) == YES

    def is_off(self, option: int) -> bool:
        """Whether we have settled on not performing `option`: a request is the peer's own idea."""
        return self._state(self.ours.find(option)) == NO

    def peer_does(self, option: int) -> bool:
        """Whether the peer performs `option`, as agreed."""
        return self._state(self._their_index(option)) == YES

    def want_ours(self, option: int, *, on: bool) -> bytes:
        """Request that we perform `option`, or stop it; return what to send."""
        index = self.ours.index(option)
        return self._move(index, _WANT_ON if on else _WANT_OFF, option)

    def want_theirs(self, option: int, *, on: bool) -> bytes:
        """Request that the peer perform `option`, or stop it; return what to send."""
        index = self.theirs.index(option) + len(self.ours)
        return self._move(index, _WANT_ON if on else _WANT_OFF, option)

    def receive(self, event: Negotiation) -> bytes:
        """Handle what the peer says about an option; return the answer."""
        about_us = event.verb in (Code.DO, Code.DONT)
        peer_for = event.verb in (Code.DO, Code.WILL)
        index = self.ours.find(event.option) if about_us else self._their_index(event.option)
        if index >= 0:
            return self._move(index, _PEER_FOR if peer_for else _PEER_AGAINST, event.option)
        if not peer_for:
            return b""
        return encode_negotiation(Code.WONT if about_us else Code.DONT, event.option)

    def _their_index(self, option: int) -> int:
        index = self.theirs.find(option)
        return index if index < 0 else index + len(self.ours)

    def _state(self, index: int) -> int:
        return NO if index < 0 else self.states[index]

    def _move(self, index: int, occasion: int, option: int) -> bytes:
        state, send = _TABLE[self.states[index], occasion]
        if state != self.states[index]:
            self.states = self.states[:index] + bytes((state,)) + self.states[index + 1 :]
        if send is None:
            return b""
        if index < len(self.ours):
            return encode_negotiation(Code.WILL if send else Code.WONT, option)
        return encode_negotiation(Code.DO if send else Code.DONT, option)
