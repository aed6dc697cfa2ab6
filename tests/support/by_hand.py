"""A server under the embedded manager, for tests that kill it."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tapd.model.application import Application
from tapd.store.generations import Store
from tapd.store.key import load_key, render_new_key

SUPPORT = Path(__file__).parent


# Below those that the kernel gives to whoever connects (ip(7), ip_local_port_range), and
# above those of the testing kit's peers: one of these may be taken before the server has it.
_PORTS = range(21_000, 32_768)


@functools.cache
def _own_ports() -> Iterator[int]:
    """Return ports, each once in a long while, that no other worker of pytest-xdist is given."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = _PORTS[worker % workers :: workers]
    first = random.SystemRandom().randrange(len(own))  # another suite may run on this machine
    return itertools.cycle([*own[first:], *own[:first]])


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port of loopback that was free a moment ago, and that nobody else is given."""
    for port in _own_ports():
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable: the ports come round for ever")


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 120.0) -> None:
    """Wait until `condition` holds, and fail naming `what` where it never does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {timeout_s} s"
        time.sleep(0.005)


_FOUND = re.compile(
    r"^.*audit of generation.*(?:would have restored|not be restored).*$", re.MULTILINE
)


class Server:
    """`tapd FILE.tap`, started by hand.

    Attributes:
        may_differ: audits may find something; a hole was planted.
    """

    def __init__(
        self,
        directory: Path,
        application: Application,
        *arguments: str,
        python_path: str = "",
        program: Sequence[str] = ("-m", "tapd"),
    ) -> None:
        # A module that Python itself imports: another version of it is new code.
        self._module = directory / "code" / "sitecustomize.py"
        self._module.parent.mkdir(exist_ok=True)
        self._module.write_text("")
        key_path = directory / "key"
        if not key_path.exists():
            key_path.touch(0o600)
            key_path.write_text(render_new_key())
        self.environ = {
            **os.environ,
            "TAPD_KEY_FILE": str(key_path),
            "PYTHONPATH": ":".join(
                [str(path) for path in (self._module.parent, SUPPORT, python_path)]
                + [os.environ.get("PYTHONPATH", "")]
            ),
            "PYTHONUNBUFFERED": "1",
        }
        self.tap = directory / f"{application.name}.tap"
        self.key = load_key(environment=self.environ)
        Store(self.tap, self.key).create(application)
        self.command = [sys.executable, *program, str(self.tap), *arguments]
        self.log_path = directory / "log"
        self.may_differ = False
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        before = self.log().count(" answers on ")
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        wait_for(
            lambda: self.log().count(" answers on ") > before or self.poll() is not None,
            "answering server",
        )
        assert self.poll() is None, self.log()

    def poll(self) -> int | None:
        """Return the manager's exit status, if it has ended."""
        assert self.process is not None
        return self.process.poll()

    def log(self) -> str:
        """Return what was logged so far."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    def child(self) -> int | None:
        """Return the process id of the server itself, if there is one now."""
        assert self.process is not None
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else None

    def kill(self, number: int = signal.SIGKILL) -> bool:
        """Send the server itself a signal; return whether there was one to send it to."""
        child = self.child()
        if child is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)
        return True

    def kill_and_go_on(self) -> None:
        """Kill the server itself, and wait until the next process answers and can be asked."""
        before = self.log().count(" answers on ")
        assert self.kill()
        wait_for(lambda: self.log().count(" answers on ") > before, "answering server")
        wait_for(self.can_be_asked, "control socket")

    def can_be_asked(self) -> bool:
        """Whether its control socket is there, which comes after the first clients."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(10)
            return asking.connect_ex(str(self.tap.with_suffix(".d") / "control")) == 0

    def write_new_code(self) -> None:
        """Have the next reload find new code, as after an upgrade."""
        new = self._module.with_suffix(".new")
        new.write_text(f"VERSION = {time.time_ns()}\n")
        new.replace(self._module)

    def restart(self) -> None:
        """Have the next process go on with new code; do not wait for it."""
        assert self.process is not None
        self.write_new_code()
        self.process.send_signal(signal.SIGHUP)

    def stop(self, timeout_s: float = 120.0) -> int:
        """Stop the manager as Ctrl-C or systemctl stop would; return its status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def end(self) -> None:
        """End what is left of it; whatever the test is about, its audits found nothing."""
        self._end()
        found = _FOUND.findall(self.log())
        assert self.may_differ or not found, found

    def _end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
                self.process.kill()
                self.process.wait()


@contextlib.contextmanager
def serving(
    directory: Path,
    application: Application,
    *arguments: str,
    python_path: str = "",
) -> Iterator[Server]:
    """Run `application` by hand for the length of the block."""
    server = Server(directory, application, *arguments, python_path=python_path)
    server.start()
    try:
        yield server
    finally:
        server.end()
