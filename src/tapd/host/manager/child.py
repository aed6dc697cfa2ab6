"""Starts the server's process as a service manager does: by fork and exec.

`subprocess` can't be used: LISTEN_PID must be the process's own ID, and the descriptors must be
3, 4, 5, … (sd_listen_fds(3)).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import signal
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from tapd.linux.processes import prepare_prctl, signal_at_parents_end

_FIRST_FD = 3
_EX_UNAVAILABLE = 69
# Signals that the manager handles, and that Python ignores.
_RESET_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGPIPE,
    signal.SIGXFSZ,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Child:
    """A running process; the holder closes `pidfd`.

    Attributes:
        pid: its process ID, not reused before it is reaped.
        pidfd: readable once it has ended (pidfd_open(2)).
    """

    pid: int
    pidfd: int

    def send(self, number: int) -> None:
        """Send it a signal; does nothing if it has ended."""
        signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> int:
        """Wait for its end, close the pidfd; return the status, -N for signal N.

        Processes left in its process group are killed, as systemd does (KillMode= of
        tapd@.service): otherwise a fork bomb would outlive its cause.
        """
        with contextlib.suppress(OSError):
            # Before waitpid: until then its process group ID can't be reused.
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOWAIT)
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        return os.waitstatus_to_exitcode(status)


def spawn(
    command: Sequence[str], environ: Mapping[str, str], fds: Sequence[tuple[str, int]]
) -> Child:
    """Start `command` with `fds` as its descriptors 3, 4, … and the variables for them.

    It gets SIGTERM when this process ends in any way. It leads its own process group, so that
    Ctrl-C on the terminal reaches only the manager, which passes it on in its own way.

    Args:
        command: the program and its arguments; found through PATH.
        environ: its environment; LISTEN_* are added, and WATCHDOG_PID if there is a
            WATCHDOG_USEC.
        fds: names and descriptors; they stay the caller's.

    Raises:
        OSError: no such program, or no process can be created.
    """
    program = shutil.which(command[0])
    if program is None:
        raise FileNotFoundError(f"there is no program {command[0]!r}")
    own = dict(environ)
    if fds:
        own["LISTEN_FDS"] = str(len(fds))
        own["LISTEN_FDNAMES"] = ":".join(name for name, _ in fds)
    image = _Image(program, command, own, [fd for _, fd in fds])
    prepare_prctl()
    parent = os.getpid()
    # None of our handlers may run in the child.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _become(image, parent, mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        return Child(pid, os.pidfd_open(pid))
    except OSError:  # no descriptor is free
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


@dataclasses.dataclass(frozen=True, slots=True)
class _Image:
    """What a forked process will execute."""

    program: str
    command: Sequence[str]
    environ: dict[str, str]
    sources: Sequence[int]


def _become(image: _Image, parent: int, mask: Iterable[int]) -> NoReturn:
    """Turn the forked process into `image`; it never returns."""
    try:
        os.setpgid(0, 0)
        signal_at_parents_end(signal.SIGTERM)
        if os.getppid() != parent:  # it died before the prctl above
            os._exit(_EX_UNAVAILABLE)
        pid = str(os.getpid())
        if image.sources:
            image.environ["LISTEN_PID"] = pid
        if "WATCHDOG_USEC" in image.environ:
            image.environ["WATCHDOG_PID"] = pid
        # Move all sources away first: one may be at another's target. Everything else but
        # 0, 1 and 2 is close-on-exec.
        end = _FIRST_FD + len(image.sources)
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, end) for fd in image.sources]
        for place, fd in enumerate(high, _FIRST_FD):
            os.dup2(fd, place, inheritable=True)
        for number in _RESET_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execve(image.program, list(image.command), image.environ)  # noqa: S606 - no shell is wanted
    except BaseException as error:
        os.write(2, f"can't start {image.program}: {error}\n".encode(errors="replace"))
    os._exit(_EX_UNAVAILABLE)
