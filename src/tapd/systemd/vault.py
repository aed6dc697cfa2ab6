"""The vault: every connection's descriptor, kept where it outlives the process.

Theory of operation
===================

A descriptor in the receive queue of an AF_UNIX socket stays open in the
kernel, whichever process dies. So a *segment* is a socket pair: its receiving end is
put into the service manager's fd store once, as ``tapd-vault-N``, and each
connection is one message in it: 16 bytes (key, cookie) and the descriptor
(SCM_RIGHTS, unix(7)). Storing a connection costs one system call and the
manager nothing; 10,000 connections are 50 stored descriptors.

They are stream sockets, since a datagram queue is limited to
net.unix.max_dgram_qlen (10). A stream never joins messages that carry
descriptors, so one read is one connection.

The order of steps makes it safe:

- *put*: a segment counts once the manager has read the message that stored it
  (a barrier); then ``sendmsg`` returns and the connection is safe. The next
  segment is stored ahead of need, so that no connection waits for a barrier.
- *recover* reads with MSG_PEEK at SO_PEEK_OFF: nothing is taken out, so a kill
  in the middle of it loses nothing. The offset belongs to the shared socket and
  is set to 0 first.
- *compact* copies the live connections of a mostly dead segment into the
  current one, then gives the segment back (FDSTOREREMOVE). A kill in between
  leaves one connection in two segments: the one of the newer segment counts.

A refusal is visible: the manager closes a descriptor that does not fit into
its store, and the sending end sees a hang-up. Between any two steps there is a
named fault point, for tests that kill there. The vault does not know what the
descriptors are.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol as TypingProtocol

from tapd.errnos import lost
from tapd.errors import ConnectionsUnreadable
from tapd.linux.processes import open_files_max
from tapd.linux.sockets import socket_cookie
from tapd.systemd.notify import Barrier
from tapd.systemd.segment import SEGMENT_NAME, Held, Segment, end_connection, take_newer

__all__ = ["FdStore", "Held", "Vault"]

_log = logging.getLogger("tapd.vault")

_BARRIER_S = 1.0
_PAUSE_S = 5.0  # after a failed store, before the next is tried
_WASTEFUL_MAX = 8  # wasteful segments that a start leaves for later
_MOVES_AT_START = 1000


class FdStore(TypingProtocol):
    """What a vault needs of the service manager; implemented by `notify.Notifier`."""

    def store_fd(self, name: str, fd: int) -> bool:
        """Store a duplicate of `fd`."""

    def remove_fd(self, name: str) -> bool:
        """Remove everything stored under `name`."""

    def begin_barrier(self) -> Barrier | None:
        """Request an answer once all messages so far are read."""


def no_fault(_name: str) -> None:
    """Do nothing: the fault point outside of tests."""


class Vault:
    """Stores connections in segments; one per process, used from one thread.

    Attributes:
        unprotected: how many connections `put` could not protect so far.
        on_sender: called with `sender_fd` when another segment is being filled.
    """

    def __init__(
        self,
        store: FdStore | None,
        segment_connections: int = 200,
        segments_max: int | None = None,
        fault: Callable[[str], None] = no_fault,
    ) -> None:
        """Create an empty vault; call `recover` first, if at all.

        Args:
            store: the fd store; None if there is none.
            segment_connections: messages per segment. About 278 fit into the kernel's
                default send buffer.
            segments_max: how many descriptors the store takes, if known.
            fault: called with a name between any two steps.
        """
        self.unprotected = 0
        self.on_sender: Callable[[int], None] = lambda _fd: None
        self._store = store
        self._capacity = segment_connections
        self._segments_max = segments_max
        self._fault = fault
        self._segments: dict[int, Segment] = {}
        self._where: dict[int, Segment] = {}
        self._current: Segment | None = None
        self._spare: Segment | None = None
        self._next_number = 0
        self._pause_until_s = 0.0
        self._warned: set[str] = set()

    def __len__(self) -> int:
        """Return how many connections are stored."""
        return len(self._where)

    @property
    def segments(self) -> int:
        """How many descriptors it has in the fd store."""
        return len(self._segments)

    @property
    def sender_fd(self) -> int:
        """The sending end of the segment being filled; -1 if there is none."""
        current = self._current
        return -1 if current is None or current.sender is None else current.sender.fileno()

    def descriptors(self) -> Iterator[int]:
        """Yield its descriptors, and those of its connections; ownership does not change."""
        for segment in self._segments.values():
            yield from segment.descriptors()

    def prepare(self) -> None:
        """Store a segment before the first connection needs it.

        Each process adds a segment of its own, and a process killed early gives none back. So
        that repeated kills don't fill the store, many are given back at once.
        """
        if self._store is None:
            return
        self._segment_with_room()
        if len(self._wasteful()) > _WASTEFUL_MAX:
            self.compact(_MOVES_AT_START)

    # --- recovery -------------------------------------------------------------------

    def recover(
        self,
        stored: Mapping[str, list[int]],
        is_over: Callable[[int], bool] = lambda _key: False,
    ) -> list[Held]:
        """Return every connection in the stored segments, ordered by key.

        The segments also contain connections that ended before the process died. Only the
        caller's records can tell: early by `is_over`, so that this process need not have all of
        them open at once; or later, by `forget` and closing those it does not take.

        Also stores the first segment of this process, so call it in any case.

        Ownership: takes the descriptors named ``tapd-vault-N`` out of `stored` and closes them
        (the manager has its own); leaves all others. The returned descriptors are the caller's.

        Args:
            stored: the fd store, by name.
            is_over: whether the connection of a key has ended; it is then ended for its
                peer as well, and not returned.

        Raises:
            ConnectionsUnreadable: this process may not open as many files. Nothing was
                changed: all connections are still in the store.
        """
        found: dict[int, tuple[Segment, Held]] = {}
        try:
            self._read_segments(stored, found, is_over)
        # Close only our copies: the next process must find everything in the store.
        except ConnectionsUnreadable:
            for _segment, held in found.values():
                os.close(held.fd)
            self.close()
            raise
        for key, (segment, held) in found.items():
            segment.live[key] = held
            self._where[key] = segment
        self._fault("recover:done")
        if self._store is not None and self._current is None:
            # Before the first client comes, which would otherwise wait for the barrier.
            self._spare = self._create_segment()
        return [found[key][1] for key in sorted(found)]

    def _read_segments(
        self,
        stored: Mapping[str, list[int]],
        found: dict[int, tuple[Segment, Held]],
        is_over: Callable[[int], bool],
    ) -> None:
        numbered = ((SEGMENT_NAME.match(name), fds) for name, fds in stored.items())
        for number, fds in sorted((int(match[1]), fds) for match, fds in numbered if match):
            segment = self._segments[number] = Segment(number)
            self._next_number = max(self._next_number, number + 1)
            for fd in fds:
                self._fault("recover:segment")
                for held in segment.read(fd):
                    self._fault("recover:held")
                    segment.messages += 1
                    if is_over(held.key):
                        end_connection(held.fd)
                        continue
                    earlier = found.get(held.key)
                    if earlier is None or take_newer(earlier[1], held):
                        found[held.key] = (segment, held)

    # --- keeping ----------------------------------------------------------------------

    def put(self, key: int, fd: int, cookie: int | None = None) -> bool:
        """Store the connection `fd` under `key`; return whether it is protected.

        `fd` stays the caller's, which calls `forget` before closing it. On false the log has
        the reason, once for each.

        Args:
            key: unique among all connections of the application.
            fd: a socket.
            cookie: its SO_COOKIE, if the caller knows it.
        """
        if cookie is None:
            cookie = socket_cookie(fd)
        self.forget(key)
        is_kept = self._send(Held(key, cookie, fd))
        if not is_kept:
            self.unprotected += 1
        return is_kept

    def is_safe(self, key: int) -> bool:
        """Whether the connection of `key` is stored and would survive the process."""
        segment = self._where.get(key)
        return segment is not None and segment.barrier is None

    def _send(self, held: Held) -> bool:
        """Send `held` into the current segment, or the next; return whether it is safe."""
        for _attempt in range(3):
            segment = self._segment_with_room()
            if segment is None or segment.sender is None:
                return False
            self._fault("put:send")
            try:
                segment.send(held)
            except BlockingIOError:  # a small send buffer: full earlier than expected
                self._seal(segment)
                self._current = None
                continue
            except OSError as error:
                # The manager dropped the segment: its other connections are at risk too.
                if error.errno in (errno.EPIPE, errno.ECONNRESET):
                    self._replace(segment)
                    continue
                if error.errno in (errno.EBADF, errno.ENOTSOCK):
                    raise lost(f"connection {held.key} or the vault", error.strerror) from error
                self._warn_send(error)
                return False
            # Counted only now: `sendmsg` has put it into the kernel's queue.
            self._fault("put:sent")
            segment.messages += 1
            segment.live[held.key] = held
            self._where[held.key] = segment
            return self._is_stored(segment)
        return False

    def _warn_send(self, error: OSError) -> None:
        if error.errno == errno.ETOOMANYREFS:
            self._warn(
                "in-flight",
                f"LimitNOFILE={open_files_max()} is also how many connections the vault may hold "
                "for this user; new ones end when the process is killed. Raise LimitNOFILE=",
            )
        else:
            self._warn("send", f"the vault takes no connection: {error}")

    def try_at_once(self) -> None:
        """Skip the pause after a failure: try again with the next connection."""
        self._pause_until_s = 0.0

    def forget(self, key: int) -> None:
        """Remove `key`: the connection ended, or was never stored.

        A duplicate stays in its segment until that is compacted. So the caller ends the
        connection with ``shutdown``: after a mere close the peer would stay connected.
        """
        segment = self._where.pop(key, None)
        if segment is not None:
            segment.live.pop(key, None)

    # --- segments -----------------------------------------------------------------------

    def _segment_with_room(self) -> Segment | None:
        """Return the segment to send into; create one if needed."""
        current = self._current
        if current is None or current.messages >= self._capacity:
            full = current
            spare, self._spare = self._spare, None
            current = self._current = spare or self._create_segment()
            self.on_sender(self.sender_fd)
            self._seal(full)
        # Ahead of need, so that no connection waits for the barrier of its segment.
        elif self._spare is None and current.messages * 4 >= self._capacity:
            self._spare = self._create_segment()
        if current is not None and not self._is_stored(current) and current.sender is None:
            self._current = current = None
            self.on_sender(-1)
        return current

    def _seal(self, segment: Segment | None) -> None:
        # While its barrier is pending, only the open end can show a refusal.
        if segment is not None and segment.barrier is None:
            segment.seal()

    def _create_segment(self) -> Segment | None:
        """Create a segment and store it, without waiting; None if that fails."""
        if self._store is None:
            self._warn("store", "there is no fd store: connections end when the process is killed")
            return None
        if time.monotonic() < self._pause_until_s:
            return None
        if self._segments_max is not None and len(self._segments) >= self._segments_max:
            self._warn_full()
            return None
        try:
            sender, receiver = socket.socketpair()
        except OSError as error:  # EMFILE, ENFILE: may be temporary
            self._pause_until_s = time.monotonic() + _PAUSE_S
            advice = ". Raise LimitNOFILE=" if error.errno == errno.EMFILE else ""
            self._warn("files", f"can't open a segment of the vault: {error}{advice}")
            return None
        sender.setblocking(False)
        segment = Segment(self._next_number, sender, receiver)
        self._next_number += 1
        self._fault("segment:made")
        if self._store.store_fd(segment.name, receiver.fileno()):
            self._fault("segment:sent")
            segment.barrier = self._store.begin_barrier()
            if segment.barrier is None:
                self._store.remove_fd(segment.name)
        if segment.barrier is None:
            segment.close()
            self._pause_until_s = time.monotonic() + _PAUSE_S
            self._warn(
                "store",
                "the service manager takes no descriptor: new connections end when the process "
                "is killed",
            )
            return None
        self._segments[segment.number] = segment
        self._fault("segment:barrier")
        return segment

    def _is_stored(self, segment: Segment) -> bool:
        """Whether the manager has `segment`; a refused one is closed."""
        if segment.barrier is None:
            return True
        now_s = time.monotonic()
        # Wait at most once per pause: a manager that hangs must not stop the server.
        if not segment.barrier.wait(0 if now_s < self._pause_until_s else _BARRIER_S):
            self._pause_until_s = now_s + _PAUSE_S
            self._warn(
                "barrier",
                "the service manager does not answer; new connections are safe once it does",
            )
            return False
        self._fault("segment:stored")
        segment.barrier = None
        if segment.receiver is not None:
            segment.receiver.close()
            segment.receiver = None
        # Our receiving end is closed, so a hang-up means that the manager has none either.
        if segment.is_hung_up():
            self._drop(segment)
            self._pause_until_s = now_s + _PAUSE_S
            self._warn_full()
            return False
        return True

    def _drop(self, segment: Segment) -> None:
        """Forget `segment` and all connections stored in it."""
        segment.close()
        self._segments.pop(segment.number, None)
        for key in segment.live:
            self._where.pop(key, None)
        segment.live.clear()
        if self._current is segment:
            self._current = None
            self.on_sender(-1)
        if self._spare is segment:
            self._spare = None

    def _replace(self, lost: Segment) -> None:
        """Store the connections of `lost`, which the manager dropped, in a new segment."""
        self._warn("lost", f"the service manager dropped {lost.name} from its fd store")
        entries = list(lost.live.values())
        self._drop(lost)
        for held in entries:
            if not self._send(held):
                self.unprotected += 1

    def _warn_full(self) -> None:
        self._warn(
            "full",
            f"the fd store takes no more than {len(self._segments)} segments of {self._capacity} "
            "connections: further ones end when the process is killed. Raise "
            "FileDescriptorStoreMax=",
        )

    def _warn(self, reason: str, text: str) -> None:
        if reason not in self._warned:
            self._warned.add(reason)
            _log.warning("%s", text)

    # --- compaction ---------------------------------------------------------------------

    def compact(self, limit: int) -> int:
        """Give mostly dead segments back, moving at most `limit` connections.

        Call it now and then; it is cheap if there is nothing to do.

        Returns:
            How many segments were given back.
        """
        for segment in list(self._segments.values()):
            if segment is not self._current and segment is not self._spare:
                self._is_stored(segment)
                self._seal(segment)
        given_back = 0
        for segment in self._wasteful():
            if len(segment.live) > limit:
                break
            limit -= len(segment.live)
            if not self._move(segment):
                break
            # Copied first, removed second: a kill in between leaves a connection in both
            # segments.
            self._fault("compact:moved")
            if self._store is not None:
                self._store.remove_fd(segment.name)
            self._fault("compact:removed")
            self._drop(segment)
            self._warned.discard("full")
            given_back += 1
        return given_back

    def _wasteful(self) -> list[Segment]:
        """Return the segments to give back, those with the least to move first.

        They are mostly dead, or half-empty and left by earlier processes, if their connections
        fit into another.
        """
        sealed = [
            segment
            for segment in self._segments.values()
            if segment is not self._current and segment is not self._spare
        ]
        small = [segment for segment in sealed if len(segment.live) * 2 <= self._capacity]
        has_company = len(small) > 1 or self._current is not None
        chosen = [
            segment
            for segment in sealed
            if len(segment.live) * 2 <= segment.messages or (has_company and segment in small)
        ]
        return sorted(chosen, key=lambda segment: len(segment.live))

    def _move(self, segment: Segment) -> bool:
        """Copy the live connections of `segment` into others; return whether all were copied."""
        for held in list(segment.live.values()):
            self._fault("compact:move")
            try:
                is_same = socket_cookie(held.fd) == held.cookie
            except OSError:
                is_same = False
            if not is_same:
                # Only this segment still has the connection, so it must not be given back.
                raise lost(f"connection {held.key}", "it is no socket of ours")
            if not self._send(held):
                elsewhere = self._where.get(held.key)
                if elsewhere is not None and elsewhere is not segment:
                    del elsewhere.live[held.key]  # not safe there yet, but still safe here
                self._where[held.key] = segment
                return False
            del segment.live[held.key]
        return True

    def close(self) -> None:
        """Close this process's ends; the contents of the fd store stay."""
        for segment in self._segments.values():
            segment.close()
        self._segments.clear()
        self._where.clear()
        self._current = self._spare = None
