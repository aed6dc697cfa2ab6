"""How much a client may send before its registration is complete.

Imports nothing of this package. What is more stays in the kernel, and is read once the
client is registered: who sends all that it has to say in one piece loses nothing. Where
the registration does not come to its end, more input closes the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tapd.services.irc.conduct.session import Session

BYTES_MAX = 4096
"""Of all lines together; CAP, SASL, NICK and USER take some hundreds."""
LINE_BYTES_MAX = 1024
"""What is kept of one line: more than any has (RFC 2812 section 2.3: 512).

Each piece of input journals it anew, so this is also what a byte can cost the journal.
"""


def limit_input(session: Session) -> None:
    """Have no more read than may be sent before registration; close where more was."""
    transport = session.live_transport
    if session.is_registered or transport is None or transport.is_closing():
        return
    left = BYTES_MAX - session.input_bytes
    if left < 0 and session.check is None:
        session.close(f"More than {BYTES_MAX // 1024} KiB of input before registration")
    else:  # one more than may be sent tells that more was
        transport.set_read_limit(max(left, 0) + 1)
