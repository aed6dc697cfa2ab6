"""A person at a terminal: a program in tmux, typed to and read from the screen."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from by_hand import wait_for

COLUMNS, ROWS = 100, 24


class Terminal:
    """One program in a terminal of its own, under a tmux server of its own."""

    def __init__(self, directory: Path, name: str, command: Sequence[str]) -> None:
        """Start `command`; `directory` holds tmux's socket and is the program's home."""
        self._tmux = ("tmux", "-S", str(directory / f"{name}.tmux"), "-f", "/dev/null")
        environ = {
            **os.environ, "HOME": str(directory), "LC_ALL": "C.UTF-8", "TERM": "xterm-256color",
            "TZ": "UTC",
        }  # fmt: skip
        environ.pop("TMUX", None)
        subprocess.run(
            [*self._tmux, "new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), *command],
            env=environ, check=True,
        )  # fmt: skip

    def type(self, text: str) -> None:
        """Type one line."""
        subprocess.run([*self._tmux, "send-keys", "-l", text], check=True)
        subprocess.run([*self._tmux, "send-keys", "Enter"], check=True)

    def screen(self, *, colours: bool = False) -> str:
        """Return what is to be seen; with its colours as a terminal is sent them."""
        command = [*self._tmux, "capture-pane", "-p", *(["-e"] if colours else [])]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def wait_for(self, text: str, timeout_s: float = 120.0) -> None:
        """Wait until `text` is on the screen."""
        try:
            wait_for(lambda: text in self.screen(), f"{text!r} on the screen", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.screen()}") from None

    def end(self) -> None:
        """End the program and its tmux; wait, since it may write as it goes."""
        command = [*self._tmux, "display-message", "-p", "#{pane_pid}"]
        pid = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        subprocess.run([*self._tmux, "kill-server"], check=True)
        wait_for(lambda: not _lives(pid), "end of the program")


def _lives(pid: str) -> bool:
    """Whether the process is there, and not just waited for by nobody (proc_pid_stat(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
