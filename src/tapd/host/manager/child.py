"""Start the server's process as a service manager does: by hand, fork and exec.

`subprocess` can't be used: LISTEN_PID must be the process's own number, and the
descriptors must be 3, 4, 5, … (sd_listen_fds(3)).
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
# What the manager handles, and what Python ignores.
_RESET_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGPIPE,
    signal.SIGXFSZ,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Child:
    """A running process; `pidfd` is its holder's to close.

    Attributes:
        pid: its number, its own until it is reaped.
        pidfd: readable once it has ended (pidfd_open(2)).
    """

    pid: int
    pidfd: int

    def send(self, number: int) -> None:
        """Send it a signal; a process that has ended takes no notice."""
        signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> int:
        """Wait for its end, close the pidfd; return the status, -N for signal N.

        What it started and left in its process group ends with it, as it does under
        systemd (KillMode= of tapd@.service): a loop of forks must not outlive its cause.
        """
        with contextlib.suppress(OSError):
            # Its number is its own until it is waited for. It has ended: asked, it waits.
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOWAIT)
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        return os.waitstatus_to_exitcode(status)


def spawn(
    command: Sequence[str], environ: Mapping[str, str], fds: Sequence[tuple[str, int]]
) -> Child:
    """Start `command` with `fds` as its descriptors 3, 4, … and the variables for them.

    It gets SIGTERM when this process ends, however that ends. It leads a process
    group of its own, so that a Ctrl-C on the terminal reaches the manager only,
    which passes it on in its own way.

    Args:
        command: the program and its arguments; found through PATH.
        environ: its environment; LISTEN_*, and WATCHDOG_PID where there is a
            WATCHDOG_USEC, are added.
        fds: names and descriptors. They stay the caller's.

    Raises:
        OSError: no such program, or no process can be made.
    """
    program = shutil.which(command[0])
    if program is None:
        raise FileNotFoundError(f"no program {command[0]!r} is to be found")
    own = dict(environ)
    if fds:
        own["LISTEN_FDS"] = str(len(fds))
        own["LISTEN_FDNAMES"] = ":".join(name for name, _ in fds)
    image = _Image(program, command, own, [fd for _, fd in fds])
    prepare_prctl()
    parent = os.getpid()
    # No handler of ours may run in the child.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _become(image, parent, mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        return Child(pid, os.pidfd_open(pid))
    except OSError:  # no file is free
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


@dataclasses.dataclass(frozen=True, slots=True)
class _Image:
    """What a forked process is to become."""

    program: str
    command: Sequence[str]
    environ: dict[str, str]
    sources: Sequence[int]


def _become(image: _Image, parent: int, mask: Iterable[int]) -> NoReturn:
    """Turn the forked process into `image`; it never returns."""
    try:
        os.setpgid(0, 0)
        signal_at_parents_end(signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            os._exit(_EX_UNAVAILABLE)
        pid = str(os.getpid())
        if image.sources:
            image.environ["LISTEN_PID"] = pid
        if "WATCHDOG_USEC" in image.environ:
            image.environ["WATCHDOG_PID"] = pid
        # Out of the way first: a source may lie where another one goes. All but
        # 0, 1 and 2 that is not put in place here closes itself at exec.
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
