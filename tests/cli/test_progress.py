"""Progress: seen on a terminal once it takes long, and nowhere else."""

from __future__ import annotations

import io
import os
import pty
import time

from tapd.cli.progress import Progress


class Terminal(io.TextIOWrapper):
    """The far end of a pseudo terminal; what was drawn is at its near end."""

    def __init__(self) -> None:
        self.near, far = pty.openpty()
        super().__init__(io.FileIO(far, "wb"), write_through=True)

    def drawn(self) -> str:
        os.set_blocking(self.near, False)
        try:
            return os.read(self.near, 65536).decode()
        except BlockingIOError:
            return ""

    def end(self) -> None:
        self.close()
        os.close(self.near)


def test_a_bar_is_drawn_and_wiped() -> None:
    terminal = Terminal()
    with Progress("checking", 200, stream=terminal, begin_s=0) as progress:
        progress.advance(100)
        seen = ""
        deadline = time.monotonic() + 20
        while "50%" not in seen:
            seen += terminal.drawn()
            assert time.monotonic() < deadline, seen
    assert "checking [###############               ]  50%" in seen
    assert (seen + terminal.drawn()).endswith("\r\x1b[K")
    terminal.end()


def test_what_is_quick_shows_nothing() -> None:
    terminal = Terminal()
    with Progress("loading", stream=terminal, begin_s=60):
        pass
    assert terminal.drawn() == ""
    terminal.end()


def test_a_file_gets_nothing() -> None:
    stream = io.StringIO()
    with Progress("loading", stream=stream, begin_s=0):
        time.sleep(0)
    assert stream.getvalue() == ""
