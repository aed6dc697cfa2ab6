"""Telnet servers on a booted Debian, and people at them, for tests of the package."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from booted import Booted
from telnet_terminal import TelnetTerminal

PASSWORD = "woohoo"


def make_server(debian: Booted, name: str, *ports: str, options: tuple[str, ...] = ()) -> str:
    """Make a telnet server named `name`; return what tapd-mktap said."""
    words = ["tapd-mktap", "telnet", "--name", name, "-u", "admin", "--password-file", "-"]
    for port in ports:
        words += ["--port", port]
    return debian.output(*words, *options, stdin=PASSWORD + "\n")


@contextlib.contextmanager
def logged_in(debian: Booted, port: int) -> Iterator[TelnetTerminal]:
    """Have a person log in with a real telnet client; they leave at the end."""
    with debian.terminal("/usr/bin/inetutils-telnet", "127.0.0.1", str(port)) as fd:
        terminal = TelnetTerminal(fd)
        terminal.expect("username: ")
        terminal.enter("admin")
        terminal.expect("password: ")
        terminal.enter(PASSWORD)
        terminal.expect(">>> ")
        yield terminal


def main_pid(debian: Booted, name: str) -> str:
    """Return the process id of a server; "0" where it sleeps."""
    return debian.show(f"tapd@{name}.service", "MainPID")
