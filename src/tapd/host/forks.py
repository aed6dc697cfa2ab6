"""What becomes of a child that typed or imported code forks: nothing of the server's.

`os.fork`, `os.forkpty`, `multiprocessing` with its context "fork" and `subprocess` with
a `preexec_fn` make a copy of the server, with its descriptors and in the midst of a turn.
Python calls `_cut_off` in each such child, first of all (os.register_at_fork):

- Every descriptor of the server's is one of /dev/null under the same number: of the
  journal, the lock, clients, listeners, the vault, the loop and the service manager. A
  number that was closed would be given to the next file, which some object left over
  from the server would then write to or close.
- Its turn is dead (`net.turn.dead_turn`), and so is the event loop that it was forked in:
  where the child's code comes back to either, the child ends with status 0.
- Signals are its own: none is told to the server by its wakeup descriptor, and those
  that the server handles end the child, as `multiprocessing.Process.terminate` means.
- What it prints goes to the server's own standard output. tapd logs nothing in it.

The child's own code finds Python as it is: new event loops, pipes, threads, other
descriptors. The children that tapd itself forks say so (`ours`) and see to themselves.

C code that calls fork(2) runs no hook. Such a child is a copy that has everything; it
is found (`systemd.own_memory`) and ends before it commits, accepts or answers.
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

# What is used in a hook is named above by itself: typed code may have replaced it.
_ALL_SIGNALS = frozenset(signal.valid_signals())
_SERVER_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, INTERRUPT)
_SILENT = logging.CRITICAL + 1


class Server:
    """What a copy of the process must let go of; one a process.

    Attributes:
        turn: once there is one.
        guardian: which a copy must not end.
        is_saving: this process is a copy, made to save.
        own_memory: its item 0 is 1 in the process that made this, 0 in each copy of it.
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
        """Count as the server's what descriptors `source` names, when it is called."""
        self._sources.append(source)

    def serves_with(self, turn: Turn, loop: asyncio.AbstractEventLoop) -> None:
        """Count `turn`, `loop` and their descriptors as the server's."""
        self.turn = turn
        self._loop = loop
        self.has(lambda: descriptors_of(turn))
        self.has(lambda: _watched_by(loop))

    def cut_off(self) -> None:
        """Take everything of the server's from this process, which is a copy of it."""
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
    """Whether a signal's handler is tapd's or its event loop's."""
    module = getattr(handler, "__module__", None) or ""
    return module.startswith(("tapd.", "asyncio."))


def _watched_by(loop: Any) -> Iterable[int]:
    """Return the event loop's own descriptors, and those that it watches."""
    selector = loop._selector  # noqa: SLF001 - a copy takes asyncio's own loop apart
    return [selector.fileno(), loop._csock.fileno(), *selector.get_map()]  # noqa: SLF001 - a copy takes asyncio's own loop apart


def _end_with(loop: Any) -> None:
    """Have this process end where it comes back to `loop`, which is the server's."""
    loop._ready.clear()  # noqa: SLF001 - a copy takes asyncio's own loop apart
    loop._ready.append(asyncio.Handle(end_quietly, (), loop))  # noqa: SLF001 - a copy takes asyncio's own loop apart
    loop._run_once = end_quietly  # noqa: SLF001 - a copy takes asyncio's own loop apart
    loop.call_soon_threadsafe = end_quietly  # the result of a thread that forked
    loop.close = end_quietly
    asyncio.events._set_running_loop(None)  # so that the child may run one of its own  # noqa: SLF001 - a copy takes asyncio's own loop apart


# --- the hooks: one set a process, as they can't be taken back ------------------------

_server: Server | None = None
_masks: dict[int, Any] = {}
_ours: int | None = None  # the thread that forks on tapd's own behalf
_is_child = False
_is_hooked = False


def protect(server: Server) -> None:
    """From here on, have each fork that is not ours let go of `server`."""
    global _server, _is_hooked  # noqa: PLW0603 - there is one process
    _server = server
    if not _is_hooked:
        _is_hooked = True
        os.register_at_fork(before=_before, after_in_parent=_unblock, after_in_child=_cut_off)


def protect_no_more() -> None:
    """Let go of what `protect` was told; for a process that goes on without a server."""
    global _server  # noqa: PLW0603 - there is one process
    _server = None


def end_copies() -> None:
    """End this process if it is a copy of the one that called `protect`."""
    if _is_child or (_server is not None and not _server.own_memory[0]):
        end_quietly()


@contextlib.contextmanager
def ours() -> Iterator[None]:
    """Fork on tapd's own behalf: the child of a fork in the block keeps what it has.

    What forks in that child is none of ours, and has no business there: it ends at once.
    """
    global _ours  # noqa: PLW0603 - there is one process
    _ours = get_ident()
    try:
        yield
    finally:
        _ours = None


def _before() -> None:
    # A signal that the child gets before it has let go would be told to the server.
    _masks[get_ident()] = pthread_sigmask(signal.SIG_BLOCK, ())
    pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)
    with contextlib.suppress(Exception):  # else both print what waits in the buffer
        sys.stdout.flush()


def _unblock() -> None:
    mask = _masks.pop(get_ident(), None)
    if mask is not None:
        try:
            pthread_sigmask(signal.SIG_SETMASK, mask)
        except KeyboardInterrupt:  # here it would be printed and forgotten
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
            server.own_memory = own_memory()  # this process's: a hook of a save may fork, too
            _server = server
        _ours = None
        _unblock()
    except BaseException:  # it could go on with what is the server's
        end_quietly()
