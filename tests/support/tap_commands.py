"""Runs tapctl: in this process on a stopped server, or as a process beside a running one."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from by_hand import Server, free_port
from click.testing import CliRunner, Result
from telnet_terminal import TelnetTerminal

from tapd.cli.tapctl.command import main
from tapd.model.application import Application
from tapd.services.telnet import ShellFactory
from tapd.store.generations import Store
from tapd.store.journal.records import render_turn
from tapd.store.key import load_key
from tapd.store.state import State

TAPCTL = (sys.executable, "-c", "from tapd.cli.tapctl.command import main; main()")


def run(*arguments: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=answer)


def run_json(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def make_journal(tap: Path, turns: int = 4) -> tuple[Path, list[int]]:
    """Lead a life of some turns after generation 3; return its journal, and where records end."""
    state = State(tap, load_key())
    with state.store.lock():
        restored = state.restore()
        journal = state.open_journal("boot")
        ends = [journal.size]
        for turn in range(turns):
            restored.application.mark = f"turn {turn}"
            journal.append(render_turn([], [], [], restored.jar.commit(), []))
            ends.append(journal.size)
        journal.sync()
        journal.close()
    return journal.path, ends


def all_files(tap: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in tap.parent.rglob("*") if path.is_file()}


class Hostile:
    def __reduce__(self) -> Any:
        return os.system, ("touch owned; echo \x1b[31m",)


def make_server(directory: Path) -> Server:
    application = Application("telnet")
    application.authorizer.add_account("admin", "woohoo")
    application.listen(f"127.0.0.1:{free_port()}", ShellFactory())
    return Server(directory, application)


def tapctl(
    server: Server, *arguments: str, stdin: str = "", status: int = 0
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*TAPCTL, *arguments],
        env=server.environ, input=stdin, capture_output=True, text=True, check=False,
        cwd=server.tap.parent,
    )  # fmt: skip
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr
    return done


def tapctl_json(server: Server, *arguments: str, stdin: str = "") -> Any:
    return json.loads(tapctl(server, *arguments, "--json", stdin=stdin).stdout)


@contextlib.contextmanager
def terminal(
    server: Server, *arguments: str, program: tuple[str, ...] = TAPCTL
) -> Iterator[TelnetTerminal]:
    near, far = pty.openpty()
    process = subprocess.Popen(
        # setsid: it is the terminal's own, so that C-c is a signal.
        ["setsid", "-c", *program, *arguments],
        env={**server.environ, "TERM": "xterm"}, cwd=server.tap.parent,
        stdin=far, stdout=far, stderr=far,
    )  # fmt: skip
    os.close(far)
    try:
        yield TelnetTerminal(near)
    finally:
        process.kill()
        process.wait()
        os.close(near)


def saved(server: Server) -> Application:
    return Store(server.tap, server.key).load().application
