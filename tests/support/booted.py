"""A Debian that systemd has booted, in a container of its own, to be driven by tests.

systemd-nspawn runs it without a network but its own loopback, on an overlay
over a root file system that is never changed. Mounts live in a mount namespace
of their own and end with the container, whatever happens to the test.
"""

from __future__ import annotations

import contextlib
import os
import pty
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BOOT_S = 60.0

_START = """
set -eu
mount -t overlay tapd -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root" 2>/dev/null ||
    cp -a --reflink=auto "$1/." "$2/root/"
if [ -n "$3" ]; then
    mkdir "$3"
    echo $$ > "$3/cgroup.procs"
fi
exec systemd-nspawn --quiet --register=no --keep-unit --directory="$2/root" --private-network \\
    --notify-ready=yes --link-journal=no --console=pipe --boot
"""


def why_not() -> str:
    """Return why no Debian can be booted here; "" where it can."""
    if os.geteuid() != 0:
        return "booting a Debian needs root"
    missing = [
        tool
        for tool in ("systemd-nspawn", "mmdebstrap", "nsenter", "unshare", "setpriv")
        if shutil.which(tool) is None
    ]
    return f"not installed: {', '.join(missing)}" if missing else ""


def own_cgroup(suite: str) -> str:
    """Return a cgroup (version 2) to boot `suite` in; "" where that is not mounted.

    Without one of its own, each booted system would take the host's root for its
    own, and two of them at once would see each other's units in one cgroup.
    """
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _what, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return f"{where}/tapd-test-{suite}-{secrets.token_hex(4)}"
    return ""


class Booted:
    """A booted Debian. Use it as a context manager; it is gone afterwards.

    Attributes:
        suite: its code name.
        leader: the process id of its PID 1, here.
    """

    def __init__(self, suite: str, root: Path, directory: Path) -> None:
        """Prepare to boot a copy of `root`; `directory` holds what it writes.

        `directory` must not lie on an overlay itself.
        """
        self.suite = suite
        self.leader = 0
        self._root = root
        self._directory = directory
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._cgroup = own_cgroup(suite)

    def __enter__(self) -> Self:
        for name in ("upper", "work", "root"):
            (self._directory / name).mkdir(parents=True)
        notify_path = self._directory / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(notify_path))
            with (self._directory / "console").open("wb") as console:
                self._nspawn = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount",
                     "sh", "-c", _START, "sh", self._root, self._directory, self._cgroup],
                    stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                    env={
                        **os.environ,
                        "NOTIFY_SOCKET": str(notify_path),
                        # Where the host still has cgroup v1, the container gets v2.
                        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                    },
                )  # fmt: skip
            try:
                self._await_ready(notify)
            except BaseException:
                self._end()
                raise
        return self

    def _await_ready(self, notify: socket.socket) -> None:
        deadline = time.monotonic() + BOOT_S
        is_ready = False
        while not is_ready:
            notify.settimeout(1.0)
            with contextlib.suppress(TimeoutError):
                for line in notify.recv(4096).decode().splitlines():
                    if line.startswith("X_NSPAWN_LEADER_PID="):
                        self.leader = int(line.partition("=")[2])
                    is_ready = is_ready or line == "READY=1"
            assert self._nspawn is not None
            if self._nspawn.poll() is not None or time.monotonic() > deadline:
                console = (self._directory / "console").read_text(errors="replace")
                raise RuntimeError(f"{self.suite} did not boot:\n{console[-4000:]}")
        self.run("systemctl", "is-system-running", "--wait", check=False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._nspawn is None:
            return
        # Nothing in it is worth an orderly end, and killing its PID 1 ends all of it.
        if self.leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.leader, signal.SIGKILL)
        else:
            self._nspawn.kill()
        self._nspawn.wait(timeout=120)
        if self._cgroup:
            # The deepest first; the kernel lets go of them once their last process is reaped.
            for group, _names, _files in os.walk(self._cgroup, topdown=False):
                with contextlib.suppress(OSError):
                    Path(group).rmdir()
        shutil.rmtree(self._directory, ignore_errors=True)

    def command(self, *words: str) -> list[str]:
        """Return the command that runs `words` inside."""
        return ["nsenter", f"--target={self.leader}", "--all", "--wd", "--", *words]

    def run(
        self, *words: str, check: bool = True, stdin: str | bytes = b"", timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside and return what it said.

        Raises:
            AssertionError: it failed, and `check` is true.
        """
        done = subprocess.run(
            self.command(*words),
            input=stdin if isinstance(stdin, bytes) else stdin.encode(),
            capture_output=True, check=False, timeout=timeout_s, env=INSIDE,
        )  # fmt: skip
        result = subprocess.CompletedProcess(
            words, done.returncode, _text(done.stdout), _text(done.stderr)
        )
        if check and result.returncode:
            raise AssertionError(
                f"{self.suite}: {' '.join(words)}: exit status {result.returncode}\n"
                f"{result.stdout}{result.stderr}"
            )
        return result

    def output(self, *words: str, **options: Any) -> str:
        """Run a command inside and return its standard output."""
        return self.run(*words, **options).stdout

    def write(self, path: str, data: bytes | str, mode: str = "644") -> None:
        """Write a file inside."""
        self.run("sh", "-c", 'cat > "$1" && chmod "$2" "$1"', "sh", path, mode, stdin=data)

    def read(self, path: str) -> str:
        """Return the text of a file inside."""
        return self.output("cat", path)

    def exists(self, path: str) -> bool:
        """Whether there is such a path inside."""
        return self.run("test", "-e", path, check=False).returncode == 0

    def glob(self, pattern: str) -> list[str]:
        """Return the paths inside that match `pattern`."""
        found = self.output("sh", "-c", f"ls -d {pattern} 2>/dev/null || true")
        return found.split()

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.output("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def journal(self, unit: str, *options: str) -> str:
        """Return what the journal has of `unit`, synced first."""
        self.run("journalctl", "--sync", check=False)
        return self.output("journalctl", "--no-pager", "--unit", unit, *options)

    def wait_until(self, *words: str, timeout_s: float = 60.0) -> None:
        """Wait until a command inside succeeds.

        Raises:
            TimeoutError: it did not.
        """
        deadline = time.monotonic() + timeout_s
        while (last := self.run(*words, check=False)).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.suite}: {' '.join(words)}: {last.stdout}{last.stderr}")

    @contextlib.contextmanager
    def terminal(self, *words: str) -> Iterator[int]:
        """Run a command inside on a terminal of its own; yield the other end's fd."""
        near, far = pty.openpty()
        process = subprocess.Popen(
            self.command(*words), stdin=far, stdout=far, stderr=far, env=INSIDE,
            start_new_session=True,
        )  # fmt: skip
        os.close(far)
        try:
            yield near
        finally:
            os.close(near)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2)
            process.kill()
            process.wait()


INSIDE = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
    "TERM": "xterm",
    "DEBIAN_FRONTEND": "noninteractive",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
}
"""The environment of commands inside: nothing of the machine outside leaks in."""


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")
