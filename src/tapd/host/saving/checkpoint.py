"""Saves while serving: a forked child dumps memory as it was at the fork.

A dump takes seconds for a large application, a fork some 10 ms per GB. The child has a frozen
copy of everything, and the parent goes on serving. The parent does not trust the child: it
reports over a pipe, and if it dies, hangs or is killed for its memory, the save has failed and
the last good TAP is still there.

After saving, the child may audit the result (`host.saving.audit`). The save is reported first
and is valid whatever the audit does. There is one audit at a time; it ends with the server, and
an audit that somebody asks for replaces it.

The fork happens with any number of threads, and only the forking one exists in the child.
Another thread may have held any lock, so the child does not log (its records are sent with the
report), runs no event loop, starts no thread, and ends by `os._exit`. If it hangs all the same,
the deadline ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from tapd import errors
from tapd.errors import BugError, StateUnwritable, TapdError
from tapd.host.audited import Audited
from tapd.host.own_forks import end_with_parent, fork_copy
from tapd.host.saving.audit import DEADLINE_S
from tapd.image.loss import Loss
from tapd.linux.processes import offer_to_oom_killer
from tapd.store.snapshot import SaveReport
from tapd.systemd.own_memory import own_memory

_log = logging.getLogger(__name__)

GIVEN_UP = "was given up"
"""The result of an audit that was ended on purpose, by a stop or for another audit."""

_NICE = 5
_FDS_MAX = 1 << 20  # the default of fs.nr_open
_REPORT_BYTES_MAX = 64 << 20
_LOG_RECORDS_MAX = 1000

Save = Callable[[], SaveReport]
RunAudit = Callable[[], Audited]


class Checkpointer:
    """Saves by fork, one at a time, from the event loop of the main thread.

    Attributes:
        deadline_s: how long a child may take before it is killed.
        fork_s: how long the last fork stopped the process, in seconds.
    """

    def __init__(self, *, deadline_s: float = 600.0, keep_fds: Iterable[int] = ()) -> None:
        """Prepare; starts nothing.

        Args:
            deadline_s: how long a child may take before it is killed.
            keep_fds: descriptors that the child keeps besides its stdio: the lock's, so
                that the lock is held for as long as the child lives.
        """
        self.deadline_s = deadline_s
        self.fork_s = 0.0
        self._keep_fds = tuple(keep_fds)
        self._one_at_a_time = asyncio.Lock()
        self._auditing: _Child | None = None

    @property
    def is_auditing(self) -> bool:
        """Whether a child is auditing."""
        return self._auditing is not None

    async def end_audit(self) -> None:
        """End the current audit, if there is one, and wait until `on_audited` was called."""
        child = self._auditing
        if child is not None and child.watching is not None:
            child.is_unwanted = True
            child.kill()
            await child.watching

    async def checkpoint(
        self,
        save: Save,
        audit: RunAudit | None = None,
        on_audited: Callable[[Audited | str], None] = lambda _audited: None,
    ) -> SaveReport:
        """Fork now, have the child call `save`, and return its report.

        If no other checkpoint runs, the saved state is the state at the call: there is no
        suspension before the fork. Cancelling kills the child.

        Args:
            save: called in the child.
            audit: called in the child after `save` was reported; only if no audit runs.
            on_audited: called here with its result, or with how the child ended.

        Raises:
            TapdError: raised by `save` in the child.
            StateUnwritable: the child could not be created, died or was too slow.
        """
        async with self._one_at_a_time:
            child = self._fork(save, audit)
            try:
                report = _report_of(await self._watch(child, self.deadline_s), child)
                if audit is None:
                    await child.wait()
            except TapdError:
                await child.wait()
                child.end()
                raise
            except BaseException:
                child.end()
                raise
            if audit is None:
                child.end()
            else:
                self._auditing = child
                child.watching = asyncio.create_task(self._watch_audit(child, on_audited))
        return report

    async def _watch_audit(
        self, child: _Child, on_audited: Callable[[Audited | str], None]
    ) -> None:
        """Wait for the result of the audit; the child ends with this task."""
        try:
            answer = await self._watch(child, self.deadline_s + DEADLINE_S)
        finally:
            self._auditing = None
            child.end()
        ended = GIVEN_UP if child.is_unwanted else _ending(child.exit_code)
        on_audited(_audited_of(answer) or ended)

    def _fork(self, save: Save, audit: RunAudit | None) -> _Child:
        parent = os.getpid()
        started_s = time.perf_counter()
        try:
            reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _no_child(error) from error
        # Until the child has set its own handlers, its signals would be delivered to the
        # parent, through the wakeup fd that both share.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = fork_copy()
            if pid == 0:
                _run_child(save, audit, parent, writing, self._keep_fds)
        except OSError as error:
            os.close(reading)
            raise _no_child(error) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            os.close(writing)
        self.fork_s = time.perf_counter() - started_s
        return _Child(pid, reading)

    async def _watch(self, child: _Child, deadline_s: float) -> bytes:
        """Return the next line that the child writes; b"" if it ended before that."""
        loop = asyncio.get_running_loop()
        told = asyncio.Event()

        def read() -> None:
            if not child.read():
                loop.remove_reader(child.pipe)
            if child.has_line:
                told.set()

        loop.add_reader(child.pipe, read)
        loop.add_reader(child.pidfd, told.set)
        try:
            async with asyncio.timeout(deadline_s):
                await told.wait()
        except TimeoutError:
            child.is_late = True
            child.kill()
            await child.wait()
        finally:
            loop.remove_reader(child.pidfd)
            loop.remove_reader(child.pipe)
        if not child.has_line:
            child.reap()
        return child.take_line()


class _Child:
    """A saving child as its parent sees it; owns both fds until `end`."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self.pipe = pipe
        self.answer = bytearray()
        self.exit_code: int | None = None
        self.is_late = False
        self.is_unwanted = False
        self.watching: asyncio.Task[None] | None = None
        try:
            self.pidfd = os.pidfd_open(pid)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so the pid is still the child's
            os.waitpid(pid, 0)
            os.close(pipe)
            raise _no_child(error) from error

    def read(self) -> bool:
        """Read what the child has written so far; return whether more may come."""
        try:
            while data := os.read(self.pipe, 1 << 16):
                if len(self.answer) < _REPORT_BYTES_MAX:
                    self.answer += data
        except BlockingIOError:
            return True
        return False

    @property
    def has_line(self) -> bool:
        """Whether a whole answer was read."""
        return b"\n" in self.answer

    def take_line(self) -> bytes:
        """Return the next answer, or the part of it that was read."""
        line, _newline, rest = bytes(self.answer).partition(b"\n")
        self.answer = bytearray(rest)
        return line

    async def wait(self) -> None:
        """Wait until the child has ended; freeing the memory of a large one takes a while."""
        if self.exit_code is not None:
            return
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self.pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self.pidfd)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def reap(self) -> None:
        """Take the exit status and the last of the answer; blocks while the child lives."""
        if self.exit_code is None:
            self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self.read()

    def end(self) -> None:
        """Close the fds; kill the child if it still runs (after a cancellation)."""
        if self.exit_code is None:
            self.kill()
            self.reap()
        os.close(self.pidfd)
        os.close(self.pipe)


def _no_child(error: OSError) -> StateUnwritable:
    return StateUnwritable(
        f"saving: no child process could be made ({error.strerror}); allow more memory, tasks or"
        " open files (MemoryMax=, TasksMax=, LimitNOFILE=); what was saved before is still there"
    )


def _report_of(answer: bytes, child: _Child) -> SaveReport:
    """Turn the child's answer and its end into a report or an error."""
    if child.is_late:
        raise StateUnwritable(
            f"saving: the child {child.pid} did not end in time and was killed; what was saved"
            " before is still there; look at the disk's speed and the size of the state"
        )
    try:
        fields = json.loads(answer)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise StateUnwritable(
            f"saving: the child {child.pid} {_ending(child.exit_code)} before it was done; what"
            " was saved before is still there; the next save tries again"
        )
    for level, name, message in fields["log"]:
        logging.getLogger(name).log(level, "%s", message)
    if "error" in fields:
        kind = getattr(errors, fields["error"], None)
        if kind is None:
            raise BugError(f"saving: {fields['error']}: {fields['message']}; please report it")
        raise kind(fields["message"])
    report: dict[str, Any] = fields["report"]
    return SaveReport(
        path=Path(report["path"]),
        generation=report["generation"],
        size_bytes=report["size_bytes"],
        losses=tuple(Loss(**loss) for loss in report["losses"]),
        duration_s=report["duration_s"],
    )


def _audited_of(answer: bytes) -> Audited | None:
    """Parse the result of an audit; None if the child ended before it."""
    try:
        return Audited.from_json(json.loads(answer))
    except (ValueError, TypeError, KeyError):
        return None


def _ending(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"ended with status {exit_code}"
    reason = " (out of memory?)" if exit_code == -signal.SIGKILL else ""
    try:
        return f"was killed by {signal.Signals(-exit_code).name}{reason}"
    except ValueError:
        return f"was killed by signal {-exit_code}"


# --- in the child --------------------------------------------------------------------


class _Collecting(logging.Handler):
    """Collects log records, for the parent to log."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[int, str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.records) < _LOG_RECORDS_MAX:
            self.records.append((record.levelno, record.name, record.getMessage()))


def _run_child(
    save: Save, audit: RunAudit | None, parent: int, pipe: int, keep_fds: Iterable[int]
) -> NoReturn:
    """Save, report through `pipe` and exit; never returns into the parent's code."""
    status = 70  # EX_SOFTWARE
    own = own_memory()
    try:
        collecting = _Collecting()
        _become_child(parent, (*keep_fds, pipe))
        _log_only_to(collecting)
        answer = _answer_of(save)
        answer["log"] = collecting.records
        if not own[0]:  # a copy: C code called by an author's hook has forked again
            os._exit(0)
        # `pipe2` made both ends non-blocking; only the parent's needs that.
        os.set_blocking(pipe, True)
        _tell(pipe, answer)
        if audit is not None and "report" in answer:
            for fd in keep_fds:  # an audit is read-only: it must not hold the lock
                os.close(fd)
            _tell(pipe, audit().as_json())
        status = 0
    finally:
        os._exit(status)


def _tell(pipe: int, answer: dict[str, Any]) -> None:
    data = memoryview(json.dumps(answer).encode() + b"\n")
    while data:
        data = data[os.write(pipe, data) :]


def _become_child(parent: int, keep_fds: Iterable[int]) -> None:
    """Give up everything of the parent's: its signals, its sockets, its priority."""
    end_with_parent(parent)
    os.setpgid(0, 0)  # Ctrl-C on the server's terminal is not for the child
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _close_all_but(keep_fds)  # otherwise clients would not see their connections end
    gc.unfreeze()  # detached objects are found by `gc.get_objects`
    gc.disable()  # a collection would copy every page and free nothing
    offer_to_oom_killer()
    with contextlib.suppress(OSError):  # a seccomp filter may refuse it
        os.nice(_NICE)


def _close_all_but(keep_fds: Iterable[int]) -> None:
    first = 3
    for fd in sorted(set(keep_fds)):
        if fd >= first:
            os.closerange(first, fd)
            first = fd + 1
    os.closerange(first, _FDS_MAX)  # by close_range(2): the kernel stops at the last open one


def _log_only_to(handler: logging.Handler) -> None:
    """Send every record to `handler`; the files of the parent's handlers are closed."""
    known = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    for logger in (logging.root, *known):
        logger.handlers = []
        logger.propagate = True
    logging.root.handlers = [handler]


def _answer_of(save: Save) -> dict[str, Any]:
    try:
        report = save()
    except TapdError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except BaseException as error:
        _log.error("saving failed in the child:\n%s", traceback.format_exc())
        return {"error": type(error).__name__, "message": str(error)}
    return {
        "report": report.as_dict()
        | {
            "path": str(report.path),
            "losses": [loss.as_dict() for loss in report.losses],
        }
    }
