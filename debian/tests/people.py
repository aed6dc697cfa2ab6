"""People at the prompts of installed servers, for the tests beside this file.

A person is a TCP connection that answers no telnet option, which is enough for a
prompt. Everything here uses the installed commands and the standard library only.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

PASSWORD = "woohoo"
PROMPT = ">>> "
ANSWER_S = 60.0

# Telnet's commands (RFC 854): subnegotiations, options and the rest; then what a
# line editor sends to a terminal (ECMA-48).
_NOT_TEXT = re.compile(
    rb"\xff\xfa.*?\xff\xf0|\xff[\xfb-\xfe].|\xff[^\xfa\xff]|\x1b\[[0-9;?]*[A-Za-z]", re.DOTALL
)


def run(*command: str, stdin: str = "") -> str:
    """Run a command that must succeed; return what it wrote."""
    done = subprocess.run(
        command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def show(unit: str, name: str) -> str:
    """Return one property of a unit."""
    return run("systemctl", "show", "--value", f"--property={name}", unit).strip()


def wait_until_active(unit: str) -> None:
    """Wait until a unit is active."""
    deadline_s = time.monotonic() + ANSWER_S
    while show(unit, "ActiveState") != "active":
        check(time.monotonic() < deadline_s, f"{unit} did not become active")
        time.sleep(0.05)


def check(holds: bool, what: str) -> None:
    """End the test where something does not hold."""
    if not holds:
        raise SystemExit(f"FAILED: {what}")


def make_server(name: str, port: int, *options: str) -> None:
    """Make a telnet server with the installed command."""
    run("tapd-mktap", "telnet", "--name", name, "--port", str(port), "-u", "admin",
        "--password-file", "-", *options, stdin=PASSWORD + "\n")  # fmt: skip


class Person:
    """Somebody who has logged in. Use it as a context manager."""

    def __init__(self, port: int) -> None:
        """Connect to `port` and log in."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)
        self._text = b""
        self.expect("username: ")
        self.type("admin\r\n")
        self.expect("password: ")
        self.type(PASSWORD + "\r\n")
        self.expect(PROMPT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def expect(self, words: str) -> str:
        """Wait until `words` come; return all up to them."""
        wanted = words.encode()
        while wanted not in self._text:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError(f"closed while {words!r} was awaited, after {self._text!r}")
            self._text = _NOT_TEXT.sub(b"", self._text + data)
        text, _, self._text = self._text.partition(wanted)
        return text.decode(errors="replace")

    def type(self, text: str) -> None:
        """Send `text` as it is."""
        self._socket.sendall(text.encode())

    def ask(self, text: str) -> str:
        """Send a line; return what comes up to the next prompt."""
        self.type(text + "\r\n")
        return self.expect(PROMPT)


class _Counting(threading.Thread):
    def __init__(self, port: int, name: str) -> None:
        super().__init__(daemon=True)
        self.count = 0
        self.error: Exception | None = None
        self.enough = threading.Event()
        self._port, self._name = port, name

    def run(self) -> None:
        try:
            self._count()
        except Exception as error:  # told by `load`, in the test's own thread
            self.error = error

    def _count(self) -> None:
        with Person(self._port) as person:
            person.ask(f"{self._name} = 0")
            while not self.enough.is_set():
                said = person.ask(f"{self._name} += 1; {self._name}, 'counted'")
                if f"({self.count + 1}, 'counted')" not in said:
                    raise ValueError(f"after {self.count} came {said!r}")
                self.count += 1


@contextlib.contextmanager
def load(port: int, people: int) -> Iterator[list[_Counting]]:
    """Have people count at a prompt through the block; each must get every number in turn."""
    crowd = [_Counting(port, f"n{number}") for number in range(people)]
    for each in crowd:
        each.start()
    wait_for_progress(crowd)
    yield crowd
    wait_for_progress(crowd)
    for each in crowd:
        each.enough.set()
    for each in crowd:
        each.join(ANSWER_S)
    errors = [str(each.error) for each in crowd if each.error]
    check(not errors, f"people were disturbed: {errors}")
    print(f"{people} people got {sum(each.count for each in crowd)} answers, each the right one")


def wait_for_progress(crowd: list[_Counting]) -> None:
    """Wait until everybody got some more answers."""
    for each in crowd:
        aim, deadline_s = each.count + 5, time.monotonic() + ANSWER_S
        while each.count < aim and each.error is None:
            check(time.monotonic() < deadline_s, "somebody's answers stopped coming")
            time.sleep(0.01)


def repack(directory: Path) -> Path:
    """Make a package of the installed tapd, as it is; return its path."""
    subprocess.run(["dpkg-repack", "tapd"], cwd=directory, check=True, stdout=subprocess.DEVNULL)
    [package] = directory.glob("tapd_*.deb")
    return package


def repack_as(package: Path, version: str) -> Path:
    """Make a package like `package` under another version; return its path."""
    unpacked, made = package.with_suffix(".d"), package.with_name(f"tapd_{version}.deb")
    run("dpkg-deb", "--raw-extract", str(package), str(unpacked))
    control = unpacked / "DEBIAN" / "control"
    control.write_text(re.sub("(?m)^Version: .*$", f"Version: {version}", control.read_text()))
    run("dpkg-deb", "--build", "--root-owner-group", str(unpacked), str(made))
    return made


def installed_version() -> str:
    """Return the version of the installed tapd."""
    return run("dpkg-query", "--show", "--showformat=${Version}", "tapd")
