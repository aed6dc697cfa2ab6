"""Bytes between two sockets of this machine: has the kernel delivered them?

Loopback delivers at once, mostly; a busy kernel may leave it to a thread of its own,
a moment later. A test that looks too early then fails once in some thousand times.
"""

from __future__ import annotations

import socket
import time

from tapd.net.streams import kernel

_PATIENCE_S = 0.5
_LOOK_S = 0.0005
_FULL_BYTES = 1 << 14
"""With so much unread, a socket may have no room for more."""


SYN = 1
"""What the side that connected counts as sent before any data (measured on Linux 6.1)."""


def was_late(near: socket.socket, far: socket.socket | None, before_data: int = 0) -> bool:
    """Wait until all that `near` has sent is at `far`; return whether it was not yet.

    Where it can't get there (nobody reads, the connection is over) the wait ends soon.

    Args:
        near: who has sent.
        far: who gets it; None where there is nobody.
        before_data: `SYN` for the side that connected.
    """
    if far is None or near.family != socket.AF_INET:
        return False  # UNIX sockets deliver at once, always
    is_late = False
    deadline = time.monotonic() + _PATIENCE_S
    while _is_coming(near, far, before_data) and time.monotonic() < deadline:
        is_late = True
        time.sleep(_LOOK_S)  # nothing tells when it has come: `far` may have input before it
    return is_late


def _is_coming(near: socket.socket, far: socket.socket, before_data: int) -> bool:
    try:
        sent, waiting = kernel.read_positions(near), kernel.input_waiting(far)
        got = kernel.read_positions(far)
    except OSError:
        return False
    is_over = sent.is_closed or got.is_closed
    return not is_over and waiting < _FULL_BYTES and got.taken + waiting < sent.sent - before_data
