"""Telnet's urgent data and unread Ctrl-C, handled on the socket itself."""

from __future__ import annotations

import socket

from tapd.model.protocol import Transport
from tapd.wire.telnet.layer import count_interrupts

_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def keep_in_stream(transport: Transport) -> None:
    """Keep the mark of a client's synch (RFC 854), which is urgent data, in the stream."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in _FAMILIES:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def interrupts_waiting(transport: Transport | None) -> int:
    """Count the C-c in the kernel; the running line may still be there, in front of them.

    Not for UNIX sockets: peeking moves the offset of their own reads.
    """
    connection = None if transport is None else transport.get_extra_info("socket")
    if connection is None or connection.family not in _FAMILIES:
        return 0
    try:
        return count_interrupts(connection.recv(1 << 16, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:  # nothing there, or the connection is gone
        return 0
