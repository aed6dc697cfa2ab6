"""One run of the scenario, with one life of the server under strace(1)."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import re
import shutil
import socket
import subprocess
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from by_hand import SUPPORT, Server, free_port, wait_for
from tests.faults.scenario import Addresses, Transcripts, play
from tests.faults.service import Counter, make_application

from tapd.errors import TapdError
from tapd.store.generations import Store
from tapd.store.lock import holder_of

_HERE = Path(__file__).parent
_LIVES_MAX = 4
_CALL = re.compile(r"^(?:(\d+) +)?(\w+)\(", re.MULTILINE)

KILL = "KILL"
SERVER, SAVER, MANAGER, ANY = "server", "saver", "manager", "any"
PROCESSES = (SERVER, SAVER, MANAGER, ANY)


@dataclasses.dataclass(frozen=True, slots=True)
class Injection:
    """What happens to one process of a run.

    Attributes:
        call: the system call, as strace names it.
        number: which of them, from 1.
        life: which process of its kind, from 1.
        what: KILL, at the call's entry; or the name of the error with which it fails.
        process: SERVER (its main thread), SAVER (the child that saves), MANAGER; or ANY,
            the server with its threads and children, each of which counts by itself.
    """

    call: str
    number: int
    life: int = 1
    what: str = KILL
    process: str = SERVER

    def __str__(self) -> str:
        return f"{self.call}:{self.number}:{self.life}:{self.what}:{self.process}"

    @classmethod
    def parse(cls, text: str) -> Injection:
        """Return what `str` made `text` of."""
        call, number, life, what, process = text.split(":")
        return cls(call, int(number), int(life), what, process)

    def options(self, trace: Path) -> list[str]:
        """Return strace's options; what it saw goes to `trace`."""
        what = "signal=KILL" if self.what == KILL else f"error={self.what}"
        return [
            *["-f"] * (self.process == ANY),
            *trace_options(trace, self.call),
            f"--inject={self.call}:{what}:when={self.number}",
        ]


def trace_options(trace: Path, calls: str) -> list[str]:
    """Return options for strace that have `calls` written to `trace`, and nothing changed."""
    return ["-qq", "--signal=none", "-s0", "-o", str(trace), f"--trace={calls}"]


@dataclasses.dataclass(slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        transcripts: what each client got.
        states: the application's, as told at several instants.
        loaded: the same at the end, from the TAP; empty where that could not be loaded.
        status: of the manager; None where it did not end.
        lives: how many the server had.
        was_hit: whether the injection was made.
        log: what was logged.
        failure: how the scenario broke off; empty where it did not.
    """

    transcripts: Transcripts
    states: list[str]
    loaded: str = ""
    status: int | None = None
    lives: int = 0
    was_hit: bool = False
    log: str = ""
    failure: str = ""


class Run:
    """One run, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        port = free_port()
        self._addresses = Addresses(port, directory / "unix", free_port(socket.SOCK_DGRAM))
        application = make_application(
            f"127.0.0.1:{port}",
            f"unix:{self._addresses.unix}",
            f"udp:127.0.0.1:{self._addresses.udp}",
        )
        program = [str(_HERE / "managed.py")]
        root = str(SUPPORT.parent.parent)
        self.server = Server(directory, application, program=program, python_path=root)
        self.server.environ["FAULTS_DIRECTORY"] = str(directory)
        for process in (SERVER, SAVER):
            (directory / f"count-{process}").write_text("0\n")

    def strace(self, process: str, life: int, options: list[str]) -> None:
        """Have a process run under strace."""
        if process == MANAGER:
            self.server.command = ["strace", "-DD", *options, *self.server.command]
        else:
            kind = SERVER if process == ANY else process
            (self._directory / f"strace-{kind}-{life}").write_text(" ".join(options))

    def trace(self, process: str, life: int) -> Path:
        """Return where what strace saw of a process is written."""
        return self._directory / f"trace-{process}-{life}"

    def play(self) -> Outcome:
        """Run the scenario to its end, and load what is left."""
        outcome = Outcome({}, [])
        plain = self.server.command[-3:]
        try:
            outcome.status = play(self.server, self._addresses, outcome.transcripts, outcome.states)
        except (OSError, AssertionError, EOFError, TapdError, subprocess.TimeoutExpired):
            outcome.failure = traceback.format_exc(limit=-3)
        outcome.lives = self.count(SERVER)
        try:
            if outcome.status != 0:  # what was not saved in the end is in the journal
                self.server.end()
                self._wait_for_the_end()
                self.server.command = plain
                self.server.start()
                assert self.server.stop(60) == 0, "the stop after the next start failed"
            outcome.loaded = self._loaded()
        except (OSError, AssertionError, TapdError, subprocess.TimeoutExpired):
            outcome.failure += traceback.format_exc(limit=-3)
        try:
            self.server.end()
        except AssertionError as error:
            outcome.failure += f"an audit found something: {error}"
        outcome.log = self.server.log()
        return outcome

    def count(self, process: str) -> int:
        """Return how many processes of a kind were started."""
        return int((self._directory / f"count-{process}").read_text() or 0)

    def _wait_for_the_end(self) -> None:
        """Wait until the server of a manager that was killed has ended: it is told to."""
        journal_directory = self.server.tap.with_suffix(".d")
        wait_for(lambda: holder_of(journal_directory) is None, "end of the server", 60)

    def _loaded(self) -> str:
        application = Store(self.server.tap, self.server.key).load().application
        counter = next(iter(application.services.values()))
        assert isinstance(counter, Counter)
        return counter.describe()


def run(injection: Injection | None = None) -> Outcome:
    """Run the scenario once."""
    with _directory() as directory:
        one = Run(directory)
        if injection is None:
            return one.play()
        trace = one.trace(injection.process, injection.life)
        one.strace(injection.process, injection.life, injection.options(trace))
        outcome = one.play()
        outcome.was_hit = _most_calls(trace)[injection.call] >= injection.number
        return outcome


Counts = dict[tuple[int, str], int]


def count_calls(process: str) -> Counts:
    """Run the scenario, and return how often each process of a kind made each call."""
    with _directory() as directory:
        one = Run(directory)
        lives = range(1, 2 if process == MANAGER else _LIVES_MAX + 1)
        for life in lives:
            follow = ["-f"] * (process == ANY)
            options = [*follow, *trace_options(one.trace(process, life), "all")]
            one.strace(process, life, options)
        outcome = one.play()
        assert not outcome.failure, outcome.failure
        return {
            (life, call): count
            for life in lives
            for call, count in _most_calls(one.trace(process, life)).items()
        }


def _most_calls(trace: Path) -> collections.Counter[str]:
    """Return how often each call was made by the process that made most of them."""
    calls: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    text = trace.read_text(errors="replace") if trace.exists() else ""
    for pid, call in _CALL.findall(text):
        calls[pid][call] += 1
    most: collections.Counter[str] = collections.Counter()
    for counts in calls.values():
        most |= counts
    return most


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tapd-faults-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@functools.cache
def why_not() -> str:
    """Return why no server can be run under strace here; empty where it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-o", "/dev/null", "--inject=getpid:error=EPERM", "true"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return f"strace does not work: {tried.stderr.strip()}" if tried.returncode else ""
