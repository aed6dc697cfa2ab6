"""The epoll set of all durable sockets.

The asyncio loop has it as a single reader: a pass costs asyncio one callback, however
many connections are ready.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import select
import socket
from typing import Protocol as TypingProtocol

from tapd.errnos import NO_MEMORY, insist, lost
from tapd.net.rate_limit import Tellings
from tapd.net.streams.stream import Stream

_log = logging.getLogger(__name__)

EVENTS_PER_TURN = 1024

IN = select.EPOLLIN
OUT = select.EPOLLOUT
ERROR = select.EPOLLERR
GONE = select.EPOLLHUP | ERROR
_ONLY_GONE = select.EPOLLET
_WATCH_AGAIN_S = 1.0
_NO_ROOM = NO_MEMORY | {errno.ENOSPC}  # fs.epoll.max_user_watches, epoll(7)


class Watched(TypingProtocol):
    """The owner of a socket in the set: a stream, a listener or a datagram port."""

    sock: socket.socket
    fd: int


class Sockets:
    """The watched sockets and their events.

    Owns the epoll set. The sockets belong to the objects in `by_fd`.

    Attributes:
        epoll: the set.
        by_fd: the owner of each watched descriptor. A stream that is not here has ended,
            and its descriptor may be reused.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tellings: Tellings) -> None:
        self.epoll = select.epoll()
        self.by_fd: dict[int, Watched] = {}
        self._loop = loop
        self._tellings = tellings

    def add(self, watched: Watched) -> None:
        """Watch a listener or a datagram port for input."""
        self.by_fd[watched.fd] = watched
        self.epoll.register(watched.fd, IN)

    def update(self, stream: Stream) -> None:
        """Watch `stream` for the events that it waits for now.

        Raises:
            DescriptorLost: its descriptor is not its own any more.
        """
        interest = IN if stream.wants_input else 0
        if stream.pending:
            interest |= OUT
        interest = interest or _ONLY_GONE
        if interest != stream.interest:
            try:
                if stream.interest < 0:
                    self.epoll.register(stream.fd, interest)
                else:
                    self.epoll.modify(stream.fd, interest)
            except OSError as error:
                self._watch_later(stream, error)
                return
            stream.interest = interest

    def _watch_later(self, stream: Stream, error: OSError) -> None:
        """Tell epoll of `stream` once there is room for it.

        Raises:
            DescriptorLost: `error` is of another kind.
        """
        if error.errno not in _NO_ROOM:
            raise lost(stream, error.strerror) from error
        text = f"{stream!r}: can't be looked at, and waits: {error.strerror}"
        self._tellings.tell(_log, "unwatchable", text)
        self._loop.call_later(_WATCH_AGAIN_S, stream.touch)

    def remove(self, stream: Stream) -> bool:
        """Stop watching `stream`; return whether it was watched.

        Raises:
            DescriptorLost: its descriptor is not its own any more.
        """
        if self.by_fd.get(stream.fd) is not stream:
            return False
        del self.by_fd[stream.fd]
        if stream.interest >= 0:
            try:
                insist(lambda: self.epoll.unregister(stream.fd))
            except OSError as error:
                raise lost(stream, error.strerror) from error
            stream.interest = -1
        return True

    def close(self) -> None:
        """Close the set; the sockets stay open."""
        self.epoll.close()
