"""The prompt: what Python makes of what is typed."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest


@pytest.fixture
def client(server: Any) -> Any:
    return server.connect().log_in()


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        (b"1+1", "2\n"),
        (b"None", ""),
        (b"'h\xc3\xa4'", "'h\xe4'\n"),
        (b"print('h\xc3\xa4', end='')", "h\xe4\n"),
        (b"print('a\\rb')", "a\r\0b\n"),
        (b"1; 2", "1\n2\n"),
        (b"x = 1; x", "1\n"),
        (b"", ""),
        (b"   ", ""),
        (b"# nothing", ""),
        (b"import sys; print('e', file=sys.stderr)", "e\n"),
        (b"\xff\xff\xfe", "U+FFFD"),
    ],
)
def test_lines(client: Any, line: bytes, printed: str) -> None:
    output = client.ask(line)
    assert printed in output if printed == "U+FFFD" else output == printed


def test_the_last_value_is_kept_in_the_namespace_only(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import builtins

    monkeypatch.delattr(builtins, "_", raising=False)  # another test's, who has no prompt
    client.ask(b"40")
    assert client.ask(b"_ + 2") == "42\n"
    assert not hasattr(builtins, "_")


def test_blocks_end_with_an_empty_line(client: Any) -> None:
    client.send(b"def f(n):\n")
    assert client.read() == b"... "
    client.send(b"    return n * 2\n")
    assert client.read() == b"... "
    client.send(b"\nf(4)\n")
    assert client.read() == b">>> 8\r\n>>> "


def test_a_block_and_a_call_pasted_at_once(client: Any) -> None:
    client.send(b"def f():\n    return 7\nf()\nif f():\n    f()\nelse:\n    0\nf() + 1\n")
    assert client.read() == b"... ... 7\r\n>>> ... ... ... ... 7\r\n8\r\n>>> "


def test_nothing_runs_where_the_line_after_a_block_is_wrong(client: Any) -> None:
    client.send(b"for i in range(3):\n    print(i)\nesle:\n")
    output = client.read().decode()
    assert output.startswith("... ... ")
    assert "SyntaxError" in output
    assert "0\r\n1" not in output


def test_an_open_bracket_and_a_string_go_on(client: Any) -> None:
    client.send(b"x = [1,\n2]\nx\n'''a\n\nb'''\n")
    assert client.read() == b"... >>> [1, 2]\r\n>>> ... ... 'a\\n\\nb'\r\n>>> "


def test_tracebacks_show_typed_code_only(client: Any) -> None:
    client.send(b"def f(x):\n    return 1 / x\n\n")
    client.read()
    output = client.ask(b"f(0)")
    lines = [line for line in output.splitlines() if "^" not in line]
    assert lines[0] == "Traceback (most recent call last):"
    assert [line for line in lines if line.startswith("    ")] == ["    f(0)", "    return 1 / x"]
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "tapd" not in output


def test_syntax_errors_show_what_was_typed(client: Any) -> None:
    output = client.ask(b"1 +* 2")
    assert "    1 +* 2\n" in output
    assert output.endswith("SyntaxError: invalid syntax\n")
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "line",
    [
        b"raise KeyboardInterrupt",
        b"raise GeneratorExit",
        b"raise BaseException('x')",
        b"import asyncio; raise asyncio.CancelledError",
        b"class E(Exception): __str__ = lambda self: 1/0\n\nraise E",
        b"def f(): f()\n\nf()",
        b"'\\ud800'; print('\\ud800')",
        b"type('T', (), {'__repr__': lambda self: 1/0})()",
        b"(" * 300,
        b"del __builtins__",
        b"globals().clear()",
        b"sys.stdout.close()",
        b"import sys; sys.stdin.close()",
    ],
)
def test_nothing_typed_harms_the_server(client: Any, line: bytes) -> None:
    # No other test's garbage may be finalized at the bottom of an endless recursion.
    gc.collect()
    gc.disable()
    try:
        client.send(line + b"\n\n")
    finally:
        gc.enable()
    client.send(b"\x03\n")
    assert client.ask(b"6*7") == "42\n"


@pytest.mark.parametrize("line", [b"quit()", b"exit()", b"raise SystemExit", b"\x04"])
def test_leaving(client: Any, line: bytes) -> None:
    client.send(line + b"\n")
    assert client.transport.closed
    assert not sys.stdin.closed


@pytest.mark.parametrize("line", [b"input()", b"import sys; sys.stdin.readline()"])
def test_input_is_refused_clearly(client: Any, line: bytes) -> None:
    shown = client.ask(line)
    assert "EOFError: input() can't be used at this prompt" in shown
    assert "streams.py" not in shown, "where it is refused is no news"


def test_help_neither_blocks_nor_pages(client: Any) -> None:
    assert "Return the number of items" in client.ask(b"help(len)")
    assert "input()" not in client.ask(b"help()").splitlines()[-1]


def test_each_prints_to_its_own_client(server: Any) -> None:
    one, other = server.connect().log_in(), server.connect().log_in()
    other.read()
    assert one.ask(b"print('mine')") == "mine\n"
    assert other.read() == b""
    sys.stdout.write("to the console\n")
    assert one.read() == b""


def test_names_are_shared_or_private(make_server: Any) -> None:
    shared = make_server(users=("ann", "bob"))
    shared.connect().log_in(b"ann").ask(b"x = 1")
    assert shared.connect().log_in(b"bob").ask(b"x") == "1\n"
    private = make_server(private=True, users=("ann", "bob"))
    private.connect().log_in(b"ann").ask(b"x = 1")
    assert "NameError" in private.connect().log_in(b"bob").ask(b"x")
    assert private.connect().log_in(b"ann").ask(b"x") == "1\n"


def test_what_will_not_be_saved_is_said_at_once(client: Any) -> None:
    output = client.ask(b"import threading; t = threading.current_thread()")
    assert output.startswith("note: t")
    assert "will not be saved" in output
    assert client.ask(b"y = 5") == ""


def test_a_block_that_is_too_long_is_dropped(client: Any) -> None:
    client.server.service.block_characters_max = 1000
    client.send(b"if 1:\n" + b"    pass\n" * 200)
    client.send(b"\x03\n")
    assert b"The block is too long" in client.read()
    assert client.ask(b"1+1") == "2\n"


def test_a_long_block_is_compiled_in_time(client: Any) -> None:
    body = b"".join(b"    x%d = %d\n" % (i, i) for i in range(3000))
    client.send(b"def f():\n" + body + b"    return x2999\nf()\n")
    assert client.read().endswith(b"2999\r\n>>> ")


# --- await -----------------------------------------------------------------------


def test_await(client: Any) -> None:
    client.ask(b"import asyncio")
    assert client.ask(b"await asyncio.sleep(0, 5)") == "5\n"
    assert client.ask(b"x = await asyncio.sleep(0, 6)") == ""
    assert client.ask(b"x") == "6\n"
    assert "ZeroDivisionError" in client.ask(b"await asyncio.sleep(0) or 1/0")


def test_input_waits_for_what_is_awaited(client: Any) -> None:
    client.ask(b"import asyncio; e = asyncio.Event()")
    client.send(b"await e.wait()\nprint('next')\n")
    client.send(b"1+1\n")
    assert client.read() == b""
    client.session.shell.namespace.names["e"].set()
    client.server.settle()
    assert client.read() == b"True\r\n>>> next\r\n>>> 2\r\n>>> "


@pytest.mark.parametrize("key", [b"\x03", b"\xff\xf4", b"\xff\xf3"])
def test_interrupting_what_is_awaited(client: Any, key: bytes) -> None:
    client.ask(b"import asyncio")
    client.send(b"await asyncio.sleep(100)\nprint('dropped')\n")
    client.send(key)
    assert client.read() == b"KeyboardInterrupt\r\n>>> "
    assert client.ask(b"1") == "1\n"


def test_a_kill_while_awaiting_is_told(client: Any) -> None:
    client.ask(b"from asyncio import sleep")
    client.send(b"await sleep(100)\n1+1\n")
    client.session.shell.namespace.names.clear()  # plain pickle knows no modules
    client.server.kill()
    client.server.settle()
    output = client.read().decode()
    assert "interrupted and not finished.\r\n>>> 2\r\n>>> " in output


def test_leaving_while_awaiting(client: Any) -> None:
    client.ask(b"import asyncio")
    client.send(b"await asyncio.sleep(0) or quit()\n")
    assert client.transport.closed


def test_a_lost_connection_cancels_what_it_awaits(client: Any) -> None:
    client.ask(b"import asyncio")
    client.send(b"await asyncio.sleep(100)\n")
    session = client.session
    session.connection_lost(None)
    session.transport = None
    client.server.settle()
    assert all(task.done() for task in client.server.runtime.tasks)


def test_a_background_task_prints_above_the_line_being_edited(server: Any) -> None:
    client = server.connect().accept_character_mode()
    client.log_in()
    client.ask(b"import asyncio; e = asyncio.Event()")
    client.send(b"async def f():\n    await e.wait()\n    print('a', end='')\n    print('b')\n\n")
    client.send(b"await asyncio.sleep(0) or asyncio.create_task(f()) and None\nhalf")
    client.read()
    client.session.shell.namespace.names["e"].set()
    client.server.settle()
    assert client.read() == b"\r\0\x1b[Jab\r\n>>> half"


def test_the_application_is_at_hand(server: Any, client: Any) -> None:
    assert client.ask(b"application") == f"{server.application!r}\n"
    assert client.ask(b"application = 5") == ""
    assert server.connect().log_in().ask(b"application") == "5\n", "a name like others"
