"""Standard streams of typed code: which output goes to its session.

All is installed within the tests, not by fixtures: pytest puts streams of its
own in place between the two.
"""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tapd.host.prompt import streams


class _Session:
    is_connected = True

    def __init__(self) -> None:
        self.printed = ""

    def code_ran(self) -> None:
        pass

    def print_text(self, text: str) -> None:
        self.printed += text

    def display(self, value: Any) -> None:
        self.printed += f"<{value}>"


@contextlib.contextmanager
def _installed(session: _Session | None = None) -> Iterator[io.StringIO]:
    """Install the stand-ins around a console; run as code of `session`."""
    console = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", console)
        patch.setattr(sys, "stderr", console)
        patch.setattr(sys, "stdin", io.StringIO("from the console\n"))
        streams.install()
        streams.install()
        token = streams.current.set(session)
        try:
            yield console
        finally:
            streams.current.reset(token)
            streams.uninstall()
            assert sys.stdout is console
            assert sys.displayhook is sys.__displayhook__


def _say(text: str, **options: Any) -> None:
    print(text, **options)


def test_outside_of_sessions_nothing_changes() -> None:
    with _installed() as console:
        _say("hello")
        sys.displayhook(5)
        sys.stdout.flush()
        assert console.getvalue() == "hello\n5\n"
        assert input() == "from the console"


def test_a_session_prints_to_its_client() -> None:
    session = _Session()
    with _installed(session) as console:
        _say("hello")
        sys.displayhook(5)
        _say("error", file=sys.stderr)
        sys.stdout.flush()
        sys.stdout.close()
        _say("still")
    assert session.printed == "hello\n<5>error\nstill\n"
    assert console.getvalue() == ""


def test_other_threads_print_to_the_console() -> None:
    session = _Session()
    with _installed(session) as console:
        thread = threading.Thread(target=_say, args=("from a thread",))
        thread.start()
        thread.join()
    assert console.getvalue() == "from a thread\n"
    assert session.printed == ""


def test_after_the_client_has_gone_the_console_gets_it() -> None:
    session = _Session()
    session.is_connected = False
    with _installed(session) as console:
        _say("late")
    assert console.getvalue() == "late\n"


def test_a_session_has_no_terminal_and_no_bytes() -> None:
    with _installed(_Session()):
        assert not sys.stdout.isatty()
        assert not sys.stdin.isatty()
        assert sys.stdout.encoding == "utf-8"
        with pytest.raises(AttributeError, match="text, not bytes"):
            sys.stdout.buffer.write(b"x")
        with pytest.raises(io.UnsupportedOperation):
            sys.stdout.fileno()
        with pytest.raises(TypeError, match="must be str"):
            sys.stdout.write(b"x")  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("expression", ["input()", "sys.stdin.read()", "list(sys.stdin)"])
def test_a_session_has_no_input(expression: str) -> None:
    with _installed(_Session()), pytest.raises(EOFError, match="can't be used at this prompt"):
        eval(expression)
