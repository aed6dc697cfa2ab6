"""Client of a running server's control socket (`host.control`)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tapd import errors
from tapd.cli.taps import control_paths
from tapd.errors import BugError, NotAllowed, NotRunning, TapdError
from tapd.host.control import connect_control
from tapd.inspection.graph import printable
from tapd.linux.sockets import peer_credentials
from tapd.store.lock import holder_of
from tapd.store.names import directory_name, parse_tap_name

if TYPE_CHECKING:
    from _typeshed import HasFileno

_ENDED = "the server ended meanwhile; what was not answered was not applied"
_START_S = 5.0
_RETRY_S = 0.05
_NEXT_S = 15.0
_NEXT_LOADED_S = 600.0


class ControlClient:
    """A connection to a running server, to be used as a context manager."""

    def __init__(self, sock: socket.socket) -> None:
        """Take ownership of `sock`."""
        self._sock = sock
        self._buffer = bytearray()
        credentials = peer_credentials(sock)
        self._pidfd = -1
        with contextlib.suppress(OSError):  # the server is in another pid namespace
            self._pidfd = os.pidfd_open(credentials.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._sock.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)

    def send(self, **message: Any) -> None:
        """Send one message.

        Raises:
            NotRunning: the server has ended.
        """
        try:
            self._sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise NotRunning(_ENDED) from error

    def receive(self) -> dict[str, Any]:
        """Wait for the next message.

        Raises:
            NotRunning: the server has ended.
            TapdError: the server answered with this error.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            try:
                data = self._sock.recv(1 << 16)
            except OSError as error:
                raise NotRunning(_ENDED) from error
            if not data:
                raise NotRunning(_ENDED)
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            kind = getattr(errors, str(message["error"]), None)
            if not (isinstance(kind, type) and issubclass(kind, TapdError)):
                kind = BugError
            raise kind(printable(str(message.get("message"))))
        return message

    def wait(self, timeout_s: float | None, *others: HasFileno) -> bool:
        """Wait for a message, or input from `others`; return whether it was a message."""
        if b"\n" in self._buffer:
            return True
        ready, _, _ = select.select([self._sock, *others], [], [], timeout_s)
        return self._sock in ready

    def wait_until_ended(self) -> None:
        """Wait until the server closes the connection, which it does when it ends."""
        with contextlib.suppress(OSError):
            while self._sock.recv(1 << 16):
                pass

    def ask(self, request: str, **fields: Any) -> Any:
        """Make a request and return the answer."""
        self.send(request=request, **fields)
        return self.receive()["ok"]

    def signal(self, number: signal.Signals) -> None:
        """Send the server's process a signal."""
        with contextlib.suppress(OSError):
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, number)


def connect(tap: Path) -> ControlClient | None:
    """Connect to the server of `tap`; return None where it does not run.

    Raises:
        NotAllowed: it is another user's.
        NotRunning: a process has locked the TAP and does not answer.
    """
    deadline_s = time.monotonic() + _START_S
    while True:
        if client := try_connect(tap):
            return client
        holder = _holder(tap)
        if holder is None:
            return None
        if time.monotonic() >= deadline_s:
            raise NotRunning(
                f"{tap}: process {holder or 'unknown'} has it and does not answer; it is starting, "
                "stopping, saving or long at one thing: try again, or see its log"
            )
        time.sleep(_RETRY_S)  # it is starting; no event says when its socket exists


def _holder(tap: Path) -> int | None:
    """Return the process that has locked `tap`: None for none, 0 for one that is unknown."""
    name = parse_tap_name(tap.name).application
    return holder_of(tap.resolve().parent / directory_name(name))


def connect_next(tap: Path) -> ControlClient:
    """Connect to the successor of the process that served `tap` and has just ended.

    Raises:
        NotAllowed: it is another user's.
        NotRunning: none was started, or it does not answer.
    """
    now_s = time.monotonic()
    start_deadline_s, load_deadline_s = now_s + _NEXT_S, now_s + _NEXT_LOADED_S
    while not (client := try_connect(tap)):
        now_s = time.monotonic()
        if _holder(tap) is not None:  # it is loading
            start_deadline_s = now_s + _NEXT_S
        if now_s > min(start_deadline_s, load_deadline_s):
            raise NotRunning(f"{tap}: its server ended and has not come back; see its log")
        time.sleep(_RETRY_S)  # no event says when its socket exists
    return client


def try_connect(tap: Path) -> ControlClient | None:
    """Connect to the server of `tap`; return None unless it answers at once.

    Raises:
        NotAllowed: it is another user's.
    """
    for path in control_paths(tap):
        try:
            return ControlClient(connect_control(path))
        except PermissionError:
            raise NotAllowed(f"{tap}: only root and the server's own user may do this") from None
        except OSError:
            continue
    return None


@contextlib.contextmanager
def connected(tap: Path) -> Iterator[ControlClient]:
    """Connect to the running server of `tap` for the length of the block.

    Raises:
        NotRunning: it does not run.
        TapdError: it can't be reached.
    """
    client = connect(tap)
    if client is None:
        raise NotRunning(f"{tap}: its server is not running; start it first")
    with client:
        yield client
