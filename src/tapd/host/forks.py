"""Isolates child processes forked by authors' code from the server's descriptors and loop.

`os.fork`, `os.forkpty`, `multiprocessing` with its context "fork" and `subprocess` with a
`preexec_fn` copy the server, with its descriptors and in the middle of a turn. Python calls
`_cut_off` first in each such child (os.register_at_fork):

- Every descriptor of the server's becomes one of /dev/null with the same number: journal,
  lock, clients, listeners, vault, loop and service manager. A closed number would be given
  to the next file, which a leftover object of the server would then write to or close.
- The turn is dead (`net.turn.dead_turn`), and so is the event loop in which it was forked:
  if the child's code returns to either, the child exits with status 0.
- Signals are its own. None reaches the server through its wakeup descriptor, and signals
  that the server handles end the child, as `multiprocessing.Process.terminate` expects.
- Its output goes to the server's own standard output. tapd logs nothing in it.

For the child's own code Python works as usual: new event loops, pipes, threads, other
descriptors. Children that tapd itself forks are marked (`ours`) and clean up themselves.

C code that calls fork(2) runs no hook. Such a child is a complete copy. It is detected
(`systemd.own_memory`) and exits before it commits, accepts or answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from os import close, dup2, fstat
from signal import pthread_sigmask
from threading import get_ident
from typing import Any

from tapd.host.prompt import streams
from tapd.host.prompt.interrupts import INTERRUPT, typed_code
from tapd.net.turn.dead_turn import descriptors_of, end_quietly, kill_turn
from tapd.net.turn.turn import Turn
from tapd.systemd.guardian import Guardian
from tapd.systemd.own_memory import own_memory

# Functions used in hooks are imported by name: typed code may replace module attributes.
_ALL_SIGNALS = frozenset(signal.valid_signals())
_SERVER_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, INTERRUPT)
_SILENT = logging.CRITICAL + 1


class Server:
    """What a copy of the process must give up; one per process.

    Attributes:
        turn: set once there is one.
        guardian: a copy must not end it.
        is_saving: this process is a copy made to save.
        own_memory: its item 0 is 1 in this process and 0 in each copy.
    """

    def __init__(self, guardian: Guardian | None = None) -> None:
        self.guardian = guardian
        self.is_saving = False
        self.own_memory = own_memory()
        self.turn: Turn | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sources: list[Callable[[], Iterable[int]]] = []
        if guardian is not None:
            self.has(guardian.descriptors)

    def has(self, source: Callable[[], Iterable[int]]) -> None:
        """Add a source of descriptors; it is called at each fork."""
        self._sources.append(source)

    def serves_with(self, turn: Turn, loop: asyncio.AbstractEventLoop) -> None:
        """Add `turn`, `loop` and their descriptors."""
        self.turn = turn
        self._loop = loop
        self.has(lambda: descriptors_of(turn))
        self.has(lambda: _watched_by(loop))

    def cut_off(self) -> None:
        """Take everything of the server's from this process, which is a copy."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in {fd for source in self._sources for fd in source()}:
            if fd > 2 and _is_open(fd):
                dup2(null, fd, inheritable=False)
        close(null)
        if self.guardian is not None:
            self.guardian.leave()
        if self.turn is not None:
            kill_turn(self.turn)
        if self._loop is not None:
            _end_with(self._loop)
        signal.set_wakeup_fd(-1)
        for number in _SERVER_SIGNALS:
            if _is_servers(signal.getsignal(number)):
                default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, default)
        streams.current.set(None)
        logging.getLogger("tapd").setLevel(_SILENT)


def _is_open(fd: int) -> bool:
    try:
        fstat(fd)
    except OSError:
        return False
    return True


def _is_servers(handler: Any) -> bool:
    """Whether a signal handler belongs to tapd or its event loop."""
    module = getattr(handler, "__module__", None) or ""
    return module.startswith(("tapd.", "asyncio."))


def _watched_by(loop: Any) -> Iterable[int]:
    """Return the event loop's own descriptors, and those that it watches."""
    selector = loop._selector  # noqa: SLF001 - a copy takes asyncio's own loop apart
    return [selector.fileno(), loop._csock.fileno(), *selector.get_map()]  # noqa: SLF001 - a copy takes asyncio's own loop apart


def _end_with(loop: Any) -> None:
    """Make this process exit if it returns to `loop`, which is the server's."""
    loop._ready.clear()  # noqa: SLF001 - a copy takes asyncio's own loop apart
    loop._ready.append(asyncio.Handle(end_quietly, (), loop))  # noqa: SLF001 - a copy takes asyncio's own loop apart
    loop._run_once = end_quietly  # noqa: SLF001 - a copy takes asyncio's own loop apart
    loop.call_soon_threadsafe = end_quietly  # for the result of a thread that forked
    loop.close = end_quietly
    asyncio.events._set_running_loop(None)  # so that the child may run one of its own  # noqa: SLF001 - a copy takes asyncio's own loop apart


# --- the hooks: registered once per process, since they can't be removed ------------------------

_server: Server | None = None
_masks: dict[int, Any] = {}
_ours: int | None = None  # the thread that forks on tapd's own behalf
_is_child = False
_is_hooked = False


def protect(server: Server) -> None:
    """From now on, isolate `server` from every fork that is not ours."""
    global _server, _is_hooked  # noqa: PLW0603 - there is one process
    _server = server
    if not _is_hooked:
        _is_hooked = True
        os.register_at_fork(before=_before, after_in_parent=_unblock, after_in_child=_cut_off)


def protect_no_more() -> None:
    """Undo `protect`, for a process that goes on without a server."""
    global _server  # noqa: PLW0603 - there is one process
    _server = None


def end_copies() -> None:
    """Exit if this process is a copy of the one that called `protect`."""
    if _is_child or (_server is not None and not _server.own_memory[0]):
        end_quietly()


@contextlib.contextmanager
def ours() -> Iterator[None]:
    """Mark forks in the block as tapd's own: their children keep everything.

    A fork in such a child is not ours, and its process exits at once.
    """
    global _ours  # noqa: PLW0603 - there is one process
    _ours = get_ident()
    try:
        yield
    finally:
        _ours = None


def _before() -> None:
    # A signal to a child that is not isolated yet would be delivered to the server.
    _masks[get_ident()] = pthread_sigmask(signal.SIG_BLOCK, ())
    pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)
    with contextlib.suppress(Exception):  # otherwise both processes print the buffered output
        sys.stdout.flush()


def _unblock() -> None:
    mask = _masks.pop(get_ident(), None)
    if mask is not None:
        try:
            pthread_sigmask(signal.SIG_SETMASK, mask)
        except KeyboardInterrupt:  # in a hook Python only prints it
            typed_code.ask_again()


def _cut_off() -> None:
    global _server, _is_child, _ours  # noqa: PLW0603 - there is one process
    try:
        server, _server = _server, None
        if server is not None and _ours != get_ident():
            _is_child = True
            if server.is_saving:
                end_quietly()
            server.cut_off()
        elif server is not None:
            server.is_saving = True
            server.own_memory = own_memory()  # a new page: a hook of a save may fork, too
            _server = server
        _ours = None
        _unblock()
    except BaseException:  # it would go on with the server's descriptors
        end_quietly()
