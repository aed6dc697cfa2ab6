"""The embedded service manager: replaces systemd for a server started by hand.

A small parent process, with one thread and no asyncio loop. It binds the ports, keeps
connections in its fd store, and restarts the server when it dies. It speaks LISTEN_FDS,
NOTIFY_SOCKET, FDSTORE, BARRIER and WATCHDOG as systemd does, so the server has one code path.
It reads no TAP: it knows only a list of addresses and a command.

Its life cycle is a table of phases, each with one deadline:

========  ==========================  =========================================
phase     is left by                  at its deadline
========  ==========================  =========================================
STARTING  READY=1                     the start took too long: abort
RUNNING   STOPPING=1, a signal to us  no WATCHDOG=1 came in time: abort
STOPPING  the child's end             it took too long: SIGKILL
ABORTING  the child's end             SIGABRT was not enough: SIGKILL
DEAD      a new child                 start it
ASLEEP    a client, a signal to us    a timer is due: start it
========  ==========================  =========================================

The child is not restarted if a stop was requested, if it announced its end (STOPPING=1) and
exited with status 0, or if a restart can't help (statuses 64 to 78, except 74, a full disk).
After status 150 the server sleeps until the next client (as with systemd's socket activation)
or the timer that it named starts it. After any other exit the child is restarted with
everything in the store.

Signals: SIGTERM and SIGINT stop the server; a second SIGINT sends the child a SIGINT, and a
third a SIGKILL. SIGHUP is passed on, as `systemctl reload` does. A child that then ends with
status 0 without STOPPING=1 wants to continue with new code, and is restarted at once with
everything in the store. A hang-up of the terminal stops the server. SIGCONT (Ctrl-Z, `fg`)
restarts the watchdog's timeout.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import errno
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType

from tapd.host.manager.binding import Bound, bind_all
from tapd.host.manager.child import Child, spawn
from tapd.host.manager.notify_socket import Message, NotifySocket, Store
from tapd.host.options import ASLEEP_STATUS
from tapd.linux.processes import raise_open_files
from tapd.model.address import Address
from tapd.systemd.inherited import describe_listener
from tapd.systemd.notify import WAKE_FIELD

_log = logging.getLogger("tapd.manager")

_ASKED_TO_END = (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCONT)
_QUICK_S = 1.0  # a life shorter than this after READY counts as a death at the start
_QUICK_DEATHS_FREE = 5  # so many in a row don't delay the restart
_CLOCK_LOOK_S = 60.0
_OPEN_FILES_MAX = 65536  # of the child; a login shell sets few
_SCARCE = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # temporary
_NOT_INHERITED = (
    "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "NOTIFY_SOCKET",
    "WATCHDOG_PID", "WATCHDOG_USEC", "FDSTORE",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class ManagerOptions:
    """The manager's settings, named as in systemd.service(5).

    Attributes:
        name: the instance; its sockets are named ``tapd@NAME.socket``.
        unix_mode: SocketMode= of UNIX sockets.
        unix_group: SocketGroup=, a number; -1 for the manager's own.
        watchdog_s: WatchdogSec=; None for none.
        start_timeout_s, stop_timeout_s: TimeoutStartSec=, TimeoutStopSec=.
        abort_timeout_s: TimeoutAbortSec=.
        restart_s: RestartSec=.
        restart_max_s: RestartMaxDelaySec=, reached by doubling when the child
            keeps dying before READY; after READY it is a tenth of this.
        descriptors_max: FileDescriptorStoreMax=.
    """

    name: str = "tapd"
    unix_mode: int = 0o600
    unix_group: int = -1
    watchdog_s: float | None = 30.0
    start_timeout_s: float = 90.0
    stop_timeout_s: float = 90.0
    abort_timeout_s: float = 5.0
    restart_s: float = 0.1
    restart_max_s: float = 10.0
    descriptors_max: int = 1024


class _Phase(enum.Enum):
    STARTING = enum.auto()
    RUNNING = enum.auto()
    STOPPING = enum.auto()
    ABORTING = enum.auto()
    DEAD = enum.auto()
    ASLEEP = enum.auto()


class _Intent(enum.Enum):
    RUN = enum.auto()
    STOP = enum.auto()


def run_manager(
    addresses: Sequence[Address],
    command: Sequence[str],
    environ: Mapping[str, str],
    options: ManagerOptions | None = None,
) -> int:
    """Bind `addresses`, run `command` on them until it is done; return its exit status.

    If a signal killed the child in the end, the status is 128 + the signal's number.

    Raises:
        AddressUnusable: an address can't be bound; nothing was started.
    """
    manager = Manager(addresses, command, environ, options or ManagerOptions())
    try:
        return manager.run()
    finally:
        manager.close()


class Manager:
    """One child, its sockets and its store. Single-threaded; `run` once, then `close`."""

    def __init__(
        self,
        addresses: Sequence[Address],
        command: Sequence[str],
        environ: Mapping[str, str],
        options: ManagerOptions,
    ) -> None:
        """Bind the ports; start nothing yet.

        Raises:
            AddressUnusable: an address can't be bound.
        """
        self._options = options
        self._command = command
        self._phase = _Phase.DEAD
        self._intent = _Intent.RUN
        self._deadline_s: float | None = 0.0
        self._child: Child | None = None
        self._ready_s: float | None = None
        self._last_code = 0
        self._quick_deaths = 0
        self._interrupts = 0
        self._exit_status: int | None = None
        self._says_stopping = False
        self._reload_waits = False
        self._was_reloaded = False
        self._wake_s: float | None = None
        self._bound: list[Bound] = bind_all(addresses, options.unix_mode, options.unix_group)
        self._notify = NotifySocket()
        self._epoll = select.epoll()
        self._epoll.register(self._notify, select.EPOLLIN)
        self._store = Store(options.descriptors_max, self._epoll)
        self._environ = {
            name: value for name, value in environ.items() if name not in _NOT_INHERITED
        }
        self._environ["NOTIFY_SOCKET"] = self._notify.path
        self._environ["FDSTORE"] = str(options.descriptors_max)
        if options.watchdog_s is not None:
            self._environ["WATCHDOG_USEC"] = str(int(options.watchdog_s * 1e6))
        self._had_terminal = _has_terminal()
        raise_open_files(_OPEN_FILES_MAX)

    @property
    def addresses(self) -> list[str]:
        """The bound addresses, with the actual numbers instead of port 0."""
        return [describe_listener(bound.listener) for bound in self._bound]

    def close(self) -> None:
        """Close sockets and store, and remove what was created in the file system."""
        self._store.close()
        for bound in self._bound:
            bound.close()
        self._notify.close()
        self._epoll.close()

    def run(self) -> int:
        """Keep the child running until its end is final; return the exit status."""
        for address in self.addresses:
            _log.info("listening on %s", address)
        with _signals() as wakeup:
            self._epoll.register(wakeup, select.EPOLLIN)
            while self._exit_status is None:
                self._wait(wakeup)
            self._epoll.unregister(wakeup)
        return self._exit_status

    def _wait(self, wakeup: socket.socket) -> None:
        """Wait for one round of events, and handle them."""
        timeout_s = None
        if self._deadline_s is not None:
            timeout_s = max(0.0, self._deadline_s - time.monotonic())
        # After a pause of this process (Ctrl-Z) poll again: events may have arrived meanwhile.
        ready = {fd for fd, _ in self._epoll.poll(timeout_s) or self._epoll.poll(0)}
        if self._notify.fileno() in ready:
            self._read_notify()
        if wakeup.fileno() in ready:
            for number in wakeup.recv(4096):
                self._take_signal(number)
        for fd in ready:
            self._store.hung_up(fd)
        if self._phase is _Phase.ASLEEP and ready & {b.listener.fileno() for b in self._bound}:
            _log.info("a client came: starting the server")
            self._wake()
        if self._child is not None and self._child.pidfd in ready:
            self._take_end(self._child)
        if self._deadline_s is not None and time.monotonic() >= self._deadline_s:
            self._take_deadline()

    # --- the child's life -------------------------------------------------------------

    def _enter(self, phase: _Phase, timeout_s: float | None) -> None:
        self._phase = phase
        self._deadline_s = None if timeout_s is None else time.monotonic() + timeout_s

    def _start(self) -> None:
        own = f"tapd@{self._options.name}.socket"
        fds = [(own, bound.listener.fileno()) for bound in self._bound] + self._store.entries
        self._intent = _Intent.RUN
        self._ready_s = None
        self._says_stopping = False
        self._reload_waits = False
        self._was_reloaded = False
        self._wake_s = None
        try:
            child = spawn(self._command, self._environ, fds)
        except OSError as error:
            _log.error("can't start the server: %s", error)
            if error.errno in _SCARCE:
                self._enter(_Phase.DEAD, self._options.restart_max_s / 10)
            else:
                self._last_code = self._exit_status = os.EX_UNAVAILABLE
            return
        self._child = child
        self._epoll.register(child.pidfd, select.EPOLLIN)
        self._enter(_Phase.STARTING, self._options.start_timeout_s)

    def _take_end(self, child: Child) -> None:
        """Reap the child, and decide whether to restart it."""
        self._read_notify()  # its last messages first
        self._epoll.unregister(child.pidfd)
        code = self._last_code = child.reap()
        self._child = None
        how = _describe_end(code)
        if self._intent is _Intent.STOP:
            if code not in (0, -signal.SIGTERM):
                _log.error("the server %s while stopping; the next start uses the journal", how)
            # Stopped while starting, before it handled the signal: nothing needs saving yet.
            # systemd counts this as a clean end, too.
            is_early = code == -signal.SIGTERM and self._ready_s is None
            self._exit_status = 0 if is_early else _exit_status(code)
        elif 64 <= code <= 78 and code != os.EX_IOERR:  # a full disk may get room again
            _log.error("the server %s, which a restart can't fix", how)
            self._exit_status = code
        elif code == 0 and self._was_reloaded and not self._says_stopping:
            _log.info("the server ended for its new code; starting it again")
            self._enter(_Phase.DEAD, 0)
        elif code == ASLEEP_STATUS:
            self._sleep()
        elif (code == 0 and self._says_stopping) or code in _ASKED_TO_END:
            _log.info("the server %s", how)
            self._exit_status = _exit_status(code)
        else:
            self._enter(_Phase.DEAD, self._restart_delay_s(how))

    def _sleep(self) -> None:
        """Wait for the next client or timer to start the server."""
        _log.info("the server sleeps; its ports stay open")
        self._quick_deaths = 0
        for bound in self._bound:
            self._epoll.register(bound.listener, select.EPOLLIN)
        self._await_timer()

    def _await_timer(self) -> None:
        """Wait for the server's timer; check the clock regularly, since it may be set."""
        left_s = None if self._wake_s is None else max(0.0, self._wake_s - time.time())
        self._enter(_Phase.ASLEEP, None if left_s is None else min(left_s, _CLOCK_LOOK_S))

    def _wake(self) -> None:
        for bound in self._bound:
            self._epoll.unregister(bound.listener)
        self._start()

    def _restart_delay_s(self, how: str) -> float:
        """Return the delay before the next start, and log it."""
        lived_s = 0.0 if self._ready_s is None else time.monotonic() - self._ready_s
        # A running server is killed from outside; a delay would not help.
        was_killed = self._last_code == -signal.SIGKILL
        is_quick = lived_s <= _QUICK_S and not (was_killed and self._phase is _Phase.RUNNING)
        self._quick_deaths = self._quick_deaths + 1 if is_quick else 0
        delay_s = self._options.restart_s
        excess = self._quick_deaths - _QUICK_DEATHS_FREE
        if excess <= 0:
            _log.warning("the server %s; starting it again in %.1f s", how, delay_s)
            return delay_s
        # Deaths during the start may come from outside, too, in the rhythm of the starts.
        is_grave = self._ready_s is None and not was_killed
        longest_s = self._options.restart_max_s / (1 if is_grave else 10)
        delay_s = max(delay_s, min(longest_s, delay_s * 2.0 ** min(excess, 30)))
        _log.error(
            "the server %s; it has died %d times in a row within %.0f s of its start, so the next "
            "start waits %.1f s. Ports stay open and connections are kept meanwhile. Its "
            "messages above say why",
            how, self._quick_deaths, _QUICK_S, delay_s,
        )  # fmt: skip
        return delay_s

    def _take_deadline(self) -> None:
        """Handle the deadline of the phase; see the table above."""
        options = self._options
        match self._phase:
            case _Phase.DEAD:
                self._start()
            case _Phase.ASLEEP if self._wake_s is not None and time.time() < self._wake_s:
                self._await_timer()
            case _Phase.ASLEEP:
                _log.info("a timer is due: starting the server")
                self._wake()
            case _Phase.STARTING:
                self._abort(f"the server was not ready in {options.start_timeout_s:g} s")
            case _Phase.RUNNING:
                self._abort(f"the server's event loop stood still for {options.watchdog_s:g} s")
            case _Phase.STOPPING:
                _log.error("the server did not stop in time; killing it")
                self._signal_child(signal.SIGKILL)
            case _Phase.ABORTING:
                self._signal_child(signal.SIGKILL)

    def _abort(self, why: str) -> None:
        _log.error("%s; aborting it", why)
        self._signal_child(signal.SIGABRT)
        self._enter(_Phase.ABORTING, self._options.abort_timeout_s)

    def _signal_child(self, number: int) -> None:
        if self._child is not None:
            self._child.send(number)
            self._child.send(signal.SIGCONT)  # a stopped process handles no other signal
            self._deadline_s = None

    # --- signals ------------------------------------------------------------------------

    def _take_signal(self, number: int) -> None:
        if number == signal.SIGCONT:
            if self._phase is _Phase.RUNNING:  # the child was stopped along with us
                self._enter(_Phase.RUNNING, self._options.watchdog_s)
            return
        if number == signal.SIGHUP:
            if self._had_terminal and not _has_terminal():
                _log.warning("the terminal is gone; stopping")
                self._ask_to_end()
            else:
                self._reload()
            return
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts == 2 and self._child is not None:
                _log.warning("hurrying the server; once more kills it")
                self._child.send(signal.SIGINT)
                return
            if self._interrupts > 2:
                _log.warning("killing the server; the next start uses the journal")
                self._signal_child(signal.SIGKILL)
                return
        if self._intent is not _Intent.STOP:
            self._ask_to_end()

    def _reload(self) -> None:
        """Have the child save and look for new code; a later process has it anyway."""
        if self._phase is _Phase.RUNNING and self._child is not None:
            self._was_reloaded = True
            self._child.send(signal.SIGHUP)
        elif self._phase is _Phase.STARTING:
            self._reload_waits = True  # before READY the child may not handle the signal yet
        else:
            _log.info("no server to reload now; its next process will be a new one anyway")

    def _ask_to_end(self) -> None:
        """Have the child save and end."""
        self._intent = _Intent.STOP
        if self._child is None:
            is_asleep = self._phase is _Phase.ASLEEP
            self._exit_status = 0 if is_asleep else _exit_status(self._last_code)
        elif self._phase is not _Phase.ABORTING:
            self._signal_child(signal.SIGTERM)
            self._enter(_Phase.STOPPING, self._options.stop_timeout_s)

    # --- messages of the child --------------------------------------------------------------

    def _read_notify(self) -> None:
        for message in self._notify.read():
            if self._child is not None and message.pid == self._child.pid:
                self._take_message(message)
            else:
                _log.warning("refused a notify message of process %d", message.pid)
            message.close_fds()  # those not taken; closing a barrier's pipe is the answer

    def _take_message(self, message: Message) -> None:
        fields = message.fields
        if fields.get("FDSTORE") == "1":
            self._store.add(message)
        if fields.get("FDSTOREREMOVE") == "1":
            self._store.remove(fields.get("FDNAME", "stored"))
        if status := fields.get("STATUS"):
            _log.debug("status: %s", status)
        if fields.get("READY") == "1" and self._phase is _Phase.STARTING:
            self._ready_s = time.monotonic()
            self._enter(_Phase.RUNNING, self._options.watchdog_s)
            if self._reload_waits:
                self._reload()
        if wake := fields.get(WAKE_FIELD):
            with contextlib.suppress(ValueError):
                self._wake_s = float(wake)
        self._was_reloaded = self._was_reloaded or fields.get("RELOADING") == "1"
        self._says_stopping = self._says_stopping or fields.get("STOPPING") == "1"
        if fields.get("STOPPING") == "1" and self._phase in (_Phase.STARTING, _Phase.RUNNING):
            self._enter(_Phase.STOPPING, self._options.stop_timeout_s)
        if "WATCHDOG" in fields and self._phase is _Phase.RUNNING:
            if fields["WATCHDOG"] == "trigger":
                self._abort("the server asked for the watchdog")
            else:
                self._enter(_Phase.RUNNING, self._options.watchdog_s)
        extension = fields.get("EXTEND_TIMEOUT_USEC", "")
        is_number = extension.isascii() and extension.isdigit() and len(extension) < 16
        if is_number and self._phase in (_Phase.STARTING, _Phase.STOPPING):
            later_s = time.monotonic() + int(extension) / 1e6
            self._deadline_s = max(self._deadline_s or 0.0, later_s)


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Turn the manager's signals into bytes, readable from the yielded socket."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)

    def note(_number: int, _frame: FrameType | None) -> None:
        """Do nothing: the wakeup socket gets a byte."""

    earlier_fd = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    earlier = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield reading
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(earlier_fd)
        reading.close()
        writing.close()


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal that still exists."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _exit_status(code: int) -> int:
    """Return the exit status for `code`, as a shell does."""
    return code if code >= 0 else 128 - code
