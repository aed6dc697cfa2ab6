"""Messages to the service manager: state, watchdog and fd store (sd_notify(3)).

Libraries that speak the protocol:

- sdnotify sends plain state lines, and is used for these. It encodes as Latin-1, so it gets
  the Latin-1 reading of a line's UTF-8 bytes, which arrive unchanged.
- systemd-python's ``notify`` passes descriptors, but may block while PID 1 is busy, and the
  event loop must not. So descriptors are sent from here, through the same non-blocking socket.
- Neither has the watchdog or the barrier; both are short.

The socket is a datagram socket: a message arrives as a whole or not at all.
"""

from __future__ import annotations

import array
import logging
import os
import select
import socket
import time
from collections.abc import MutableMapping, Sequence

from sdnotify import SystemdNotifier

_log = logging.getLogger("tapd.notify")

WAKE_FIELD = "X_TAPD_WAKE_S"
"""The field that tells when a sleeping server's next timer is due."""

_QUEUE_WAIT_S = 0.05  # for messages that are repeated anyway
_STORE_WAIT_S = 2.0  # for messages that must not get lost: READY, and the fd store


class _PlainLines(SystemdNotifier):  # type: ignore[misc]  # sdnotify has no types
    """sdnotify with our socket; its own is blocking and found only through os.environ."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.debug = True  # raise OSError instead of swallowing it


class Barrier:
    """A message that the manager answers once it has read all earlier ones.

    Owns the reading end of a pipe until `wait` has returned true, or `close`.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def wait(self, timeout_s: float) -> bool:
        """Return whether the manager has answered, waiting up to `timeout_s`."""
        if self.fd < 0:
            return True
        poll = select.poll()
        poll.register(self.fd, 0)  # the other end closed: POLLHUP
        if not poll.poll(timeout_s * 1000):
            return False
        self.close()
        return True

    def close(self) -> None:
        """Stop waiting."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Notifier:
    """The connection to the service manager; without one, every method does nothing.

    Every method returns whether the message was handed over (`barrier`: whether it was read).
    """

    def __init__(self, connected: socket.socket | None = None) -> None:
        """Take over `connected`, a datagram socket connected to the manager's."""
        self._socket = connected
        self._lines: _PlainLines | None = None
        if connected is not None:
            connected.setblocking(False)
            self._lines = _PlainLines(connected)

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> Notifier:
        """Connect to $NOTIFY_SOCKET and remove it from `environ`.

        It is removed so that child programs don't speak for the service. The watchdog's
        variables stay.
        """
        path = environ.pop("NOTIFY_SOCKET", "")
        if not path:
            return cls()
        if not path.startswith(("/", "@")):
            _log.warning("NOTIFY_SOCKET=%s is of a kind that tapd does not speak to", path)
            return cls()
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            connected.connect("\0" + path[1:] if path.startswith("@") else path)
        except OSError as error:
            connected.close()
            _log.warning("can't reach the service manager at %s: %s", path, error.strerror)
            return cls()
        return cls(connected)

    @property
    def is_connected(self) -> bool:
        """Whether there is a service manager."""
        return self._socket is not None

    def descriptors(self) -> tuple[int, ...]:
        """Return its socket's descriptor, if it has one."""
        return () if self._socket is None else (self._socket.fileno(),)

    def close(self) -> None:
        """Close the socket; later messages are dropped."""
        if self._socket is not None:
            self._socket.close()
            self._socket = self._lines = None

    # --- state ------------------------------------------------------------------

    def ready(self, status: str = "") -> bool:
        """Tell that the server is restored and listening, or that a reload is over."""
        return self._say(_STORE_WAIT_S, "READY=1", *_status_line(status))

    def status(self, text: str) -> bool:
        """Set the line that ``systemctl status`` shows."""
        return self._say(_QUEUE_WAIT_S, *_status_line(text))

    def stopping(self, text: str = "") -> bool:
        """Tell that the server is stopping."""
        return self._say(_STORE_WAIT_S, "STOPPING=1", *_status_line(text))

    def reloading(self) -> bool:
        """Tell that a reload began; `ready` ends it. MONOTONIC_USEC is for notify-reload."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._say(_STORE_WAIT_S, "RELOADING=1", f"MONOTONIC_USEC={now_us}")

    def extend_timeout(self, seconds: float) -> bool:
        """Extend the timeout of a start or stop to `seconds` from now."""
        return self._say(_QUEUE_WAIT_S, f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def wake_at(self, due_s: float) -> bool:
        """Have the embedded manager start the server at `due_s`, seconds since the epoch.

        systemd ignores fields with X_; there a timer unit starts the server.
        """
        return self._say(_STORE_WAIT_S, f"{WAKE_FIELD}={due_s:.3f}")

    def watchdog(self) -> bool:
        """Tell that the event loop runs. Never waits: the next message repeats it."""
        return self._say(0, "WATCHDOG=1")

    def _say(self, wait_s: float, *lines: str) -> bool:
        if self._lines is None or not lines:
            return False
        text = "\n".join(lines)
        deadline_s = time.monotonic() + wait_s
        while True:
            try:
                self._lines.notify(text.encode("utf-8", "replace").decode("latin-1"))
            except BlockingIOError:
                if not self._wait_for_room(deadline_s):
                    _log.debug("the service manager is busy; not sent: %s", lines[0])
                    return False
            except OSError as error:
                _log.debug("can't send %s to the manager: %s", lines[0], error)
                return False
            else:
                return True

    # --- the fd store -------------------------------------------------------------

    def store_fd(self, name: str, fd: int) -> bool:
        """Store a duplicate of `fd` in the fd store under `name` (FDSTORE=1).

        `fd` stays the caller's. FDPOLL=0: the manager keeps it even if it reports a hang-up, as
        a connection does whose peer has closed.
        """
        return self._pass(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", [fd])

    def remove_fd(self, name: str) -> bool:
        """Remove everything under `name` from the store (FDSTOREREMOVE=1)."""
        return self._pass(f"FDSTOREREMOVE=1\nFDNAME={name}", [])

    def begin_barrier(self) -> Barrier | None:
        """Send BARRIER=1 as sd_notify_barrier(3) does; None if it can't be sent.

        Ownership: the caller waits for the barrier or closes it.
        """
        if self._socket is None:
            return None
        try:
            reading, writing = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            _log.warning("can't ask the service manager for an answer: %s", error)
            return None
        try:
            sent = self._pass("BARRIER=1", [writing])
        finally:
            os.close(writing)
        if sent:
            return Barrier(reading)
        os.close(reading)
        return None

    def barrier(self, timeout_s: float) -> bool:
        """Wait until the manager has read all messages so far, up to `timeout_s`; blocks."""
        barrier = self.begin_barrier()
        if barrier is None:
            return False
        try:
            return barrier.wait(timeout_s)
        finally:
            barrier.close()

    def _pass(self, message: str, fds: Sequence[int]) -> bool:
        if self._socket is None:
            return False
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        deadline_s = time.monotonic() + _STORE_WAIT_S
        while True:
            try:
                self._socket.sendmsg([message.encode()], ancillary)
            except BlockingIOError:
                if self._wait_for_room(deadline_s):
                    continue
                _log.warning(
                    "the service manager reads no messages; not sent: %s",
                    message.split(maxsplit=1)[0],
                )
                return False
            except OSError as error:
                _log.warning(
                    "can't send %s to the manager: %s", message.split(maxsplit=1)[0], error
                )
                return False
            else:
                return True

    def _wait_for_room(self, deadline_s: float) -> bool:
        """Wait for room in the manager's queue; return false at the deadline."""
        left_s = deadline_s - time.monotonic()
        if self._socket is None or left_s <= 0:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        poll.poll(left_s * 1000)
        return True


def _status_line(text: str) -> tuple[str, ...]:
    """Return the STATUS= line of `text`, always as a single line."""
    return (f"STATUS={' '.join(text.split())}",) if text else ()
