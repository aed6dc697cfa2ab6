"""Telnet servers inside a booted Debian, and people who log in to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from booted import Booted
from telnet_terminal import TelnetTerminal

CLIENTS = {"inetutils": "/usr/bin/inetutils-telnet", "telnet-ssl": "/usr/bin/telnet-ssl"}
PASSWORD = "woohoo"


def make_server(debian: Booted, name: str, *ports: int | str, options: tuple[str, ...] = ()) -> str:
    """Make a telnet server; return what tapd-mktap said."""
    words = ["tapd-mktap", "telnet", "--name", name, "-u", "admin", "--password-file", "-"]
    for port in ports:
        words += ["--port", str(port)]
    return debian.output(*words, *options, stdin=PASSWORD + "\n")


def start_server(debian: Booted, name: str, port: int, *options: str) -> str:
    """Make and start a telnet server; return what tapd-mktap said."""
    made = make_server(debian, name, port, options=options)
    debian.run("systemctl", "start", f"tapd@{name}")
    return made


@contextlib.contextmanager
def telnet(debian: Booted, port: int, client: str = "inetutils") -> Iterator[TelnetTerminal]:
    """Run a telnet client."""
    with debian.terminal(CLIENTS[client], "127.0.0.1", str(port)) as fd:
        yield TelnetTerminal(fd)


@contextlib.contextmanager
def logged_in(
    debian: Booted, port: int, client: str = "inetutils", *, password: str = PASSWORD
) -> Iterator[TelnetTerminal]:
    """Run a telnet client and log in; the person leaves at the end."""
    with telnet(debian, port, client) as terminal:
        terminal.expect("username: ")
        terminal.enter("admin")
        terminal.expect("password: ")
        terminal.enter(password)
        terminal.expect(">>> ")
        yield terminal


def main_pid(debian: Booted, name: str) -> str:
    """Return the process id of the server, as text; "0" for none."""
    return debian.show(f"tapd@{name}.service", "MainPID")


def wait_for_another_process(debian: Booted, name: str, before: str) -> None:
    """Wait until a new process of the server has said READY."""
    script = (
        'p=$(systemctl show --value -p MainPID "$1"); '
        '[ "$p" != 0 ] && [ "$p" != "$2" ] && systemctl -q is-active "$1"'
    )
    debian.wait_until("sh", "-c", script, "sh", f"tapd@{name}.service", before)
