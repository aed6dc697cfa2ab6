"""Whole dialogues: killed at every byte, typed ahead, poisoned, too long, too many."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

OFFER = b"\xff\xfb\x01\xff\xfb\x03\xff\xfd\x18\xff\xfd\x1f"
CHARACTER_MODE = (
    b"\xff\xfd\x01\xff\xfd\x03\xff\xfb\x18\xff\xfb\x1f\xff\xfa\x1f\x00\x28\x00\x18\xff\xf0"
    b"\xff\xfa\x18\x00XTERM\xff\xf0"
)

LINE_DIALOGUE = (
    b"admin\r\nwrong\r\nadmin\r\nwoohoo\r\n1+1\r\nx = 5\r\nfor i in range(2):\r\n  print(i, x)\r\n"
    b"\r\n1/0\r\nprint('h\xc3\xa4')\r\n'abc\r\nprint('no end', end='')\r\n_\r\nab\x03\xff\xf4"
    b"\xff\xf6(1,\r\n2)\r\nquit()\r\n"
)
KEY_DIALOGUE = (
    b"admin\r\0wrong\r\0adnn\x7f\x7fmin\r\0woohoo\r\0"
    b"1+1\r\0x = 5\r\0for i in range(2):\r\0\tprint(i, x)\r\0\r\0"
    b"print('\xe6\x97\xa5\xe6\x9c\xac')\x1b[D\x1b[D\x7f\x01\x06\x05 # and so on and so on\r\0"
    b"\x1b[A\x1bb\x1b\x7f\x15\x19\r\0x.bit\t\r\0y.z\t\x15x.re\t\r\0abc\x03\x12pri\x12\r\0"
    b"\x1b[200~def f():\r\r    return 8\rf()\rf\x1b[201~() + 1\r\0"
    b"\xff\xf6\xff\xf7\xff\xf8\x04"
)


def _without_numbers(output: bytes) -> bytes:
    """Return `output` without what the process counts: typed sources."""
    return re.sub(rb"<telnet \d+>", b"<telnet N>", output)


def _dialogue(server: Any, data: bytes, *, killed: bool) -> bytes:
    client = server.connect()
    for index in range(len(data)):
        if killed:
            server.kill()
        client.send(data[index : index + 1])
        if killed:
            server.kill()
        server.advance(5 if client.transport.paused else 0)
        client.deliver()
    assert client.transport.closed
    return _without_numbers(bytes(client.transport.output))


@pytest.mark.parametrize("dialogue", [LINE_DIALOGUE, CHARACTER_MODE + KEY_DIALOGUE])
def test_killed_after_every_byte(make_server: Any, dialogue: bytes) -> None:
    """Promise 3: the client's stream is the same, whenever the server is killed.

    The undisturbed run is strict: each turn's changes restore what memory holds.
    """
    expected = _dialogue(make_server(strict=True), dialogue, killed=False)
    assert _dialogue(make_server(), dialogue, killed=True) == expected
    assert b"Login incorrect" in expected


@pytest.mark.parametrize("dialogue", [LINE_DIALOGUE, CHARACTER_MODE + KEY_DIALOGUE])
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_every_split_runs_alike(make_server: Any, dialogue: bytes, data: Any) -> None:
    expected = _dialogue(make_server(), dialogue, killed=False)
    client = make_server().connect()
    rest = dialogue
    while rest:
        size = data.draw(st.integers(1, 60))
        client.send(rest[:size])
        rest = rest[size:]
        while client.transport.paused:
            client.server.advance(5)
            client.deliver()
    assert _without_numbers(bytes(client.transport.output)) == expected


def test_dialogue_with_a_client_that_negotiates_nothing(server: Any) -> None:
    client = server.connect()
    output = client.read()
    assert output.startswith(OFFER)
    assert b"telnet: a telnet server of tapd 0" in output
    assert output.endswith(b"\r\nusername: ")
    client.send(b"admin\n")
    assert client.read() == b"password: "
    client.send(b"woohoo\n")
    assert client.read() == b">>> "
    client.send(b"1+1\n")
    assert client.read() == b"2\r\n>>> "
    client.send(b"x = _ + 40\nx\n")
    assert client.read() == b">>> 42\r\n>>> "
    client.send(b"quit()\n")
    assert client.read() == b""
    assert client.transport.closed


@pytest.fixture
def typist(server: Any) -> Any:
    """A logged-in client in character mode, 40 columns wide."""
    client = server.connect().accept_character_mode(width=40)
    client.log_in()
    return client


# --- keys -------------------------------------------------------------------------


def test_keys_are_echoed_and_results_follow(typist: Any) -> None:
    typist.send(b"1+")
    assert typist.read() == b"1+"
    typist.send(b"1\r\0")
    assert typist.read() == b"1\r\n2\r\n>>> "


def test_history_is_kept_for_each_user(typist: Any) -> None:
    typist.send(b"x = 1\r\0x = 2\r\0x = 2\r\0")
    server = typist.server
    server.kill()
    other = server.connect().accept_character_mode().log_in()
    other.send(b"\x10")
    assert other.read() == b"x = 2"
    other.send(b"\x10")
    assert other.read().endswith(b"x = 1")


def test_completion_by_tab(typist: Any) -> None:
    typist.send(b"alpha = 1; albatros = 2\r\0")
    typist.read()
    typist.send(b"al\t")
    assert typist.read() == b"al\r\nalbatros  all       alpha\r\n>>> al"
    typist.send(b"p\t")
    assert typist.read() == b"pha"
    typist.send(b".nothing\t")
    assert typist.read() == b".nothing\a"


def test_control_c_drops_line_and_block(typist: Any) -> None:
    typist.send(b"if 1:\r\0    x\x03")
    assert typist.read().endswith(b"\r\nKeyboardInterrupt\r\n>>> ")
    typist.send(b"2\r\0")
    assert typist.read() == b"2\r\n2\r\n>>> "


def test_control_d_leaves_the_block_first(typist: Any) -> None:
    typist.send(b"if 1:\r\0\x04")
    assert typist.read() == b"if 1:\r\n... \r\n>>> "
    typist.send(b"\x04")
    assert typist.transport.closed


def test_a_paste_is_taken_apart(server: Any) -> None:
    typist = server.connect().accept_character_mode(terminal=b"XTERM")
    typist.send(b"admin\nwoohoo\n")
    assert typist.read().endswith(b"\x1b[?2004h>>> ")
    typist.send(b"\x1b[200~def f():\r    a = 1\r\r    return a\rf()\rx = f(\x1b[201~)\r\0x\r\0")
    output = typist.read()
    assert output.startswith(b"\r\0\x1b[J>>> def f():\r\n...     a = 1\r\n... \r\n")
    assert output.endswith(b"... f()\r\n1\r\n>>> x = f()\r\n>>> x\r\n1\r\n>>> ")
    typist.send(b"\x04")
    assert typist.read() == b"\r\n\x1b[?2004l"


def test_a_pasted_function_may_go_on(typist: Any) -> None:
    typist.send(b"\x1b[200~def f():\r    a = 1\r\x1b[201~")
    assert typist.read().endswith(b"\r\n... ")
    typist.send(b"    return a\r\0\r\0f()\r\0")
    assert typist.read().endswith(b">>> f()\r\n1\r\n>>> ")


def test_the_rest_of_a_paste_is_not_run_after_an_error(typist: Any) -> None:
    typist.send(b"\x1b[200~1/0\rprint('after')\r\x1b[201~")
    output = typist.read()
    assert b"ZeroDivisionError" in output
    assert output.endswith(b"(The rest of the paste was not run.)\r\n>>> ")


def test_a_paste_waits_for_what_it_awaits(typist: Any) -> None:
    typist.send(b"import asyncio\r\0")
    typist.send(b"\x1b[200~await asyncio.sleep(0)\rif 1:\r    2\r\r3\r4\x1b[201~")
    output = typist.read()
    assert output.endswith(b"2\r\n3\r\n>>> 4")


def test_a_paste_ends_with_a_half_line_after_one_that_awaits(typist: Any) -> None:
    typist.send(b"import asyncio\r\0")
    typist.send(b"\x1b[200~await asyncio.sleep(0)\r3\x1b[201~")
    assert typist.read().endswith(b">>> 3")


def test_a_wider_window_is_noticed(typist: Any) -> None:
    typist.send(b"\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0")
    typist.send(b"x" * 50)
    typist.read()
    typist.send(b"\x01")
    assert typist.read() == b"\x1b[50D"


# --- commands -----------------------------------------------------------------------


def test_are_you_there(typist: Any) -> None:
    typist.send(b"ab\xff\xf6")
    assert typist.read() == b"ab\r\n[Yes: tapd is here.]\r\n>>> ab"


def test_erase_commands(typist: Any) -> None:
    typist.send(b"12\xff\xf7\r\0")
    assert typist.read().endswith(b"\r\n1\r\n>>> ")
    typist.send(b"12\xff\xf83\r\0")
    assert typist.read().endswith(b"\r\n3\r\n>>> ")


def test_timing_marks_are_answered(typist: Any) -> None:
    """A client may show no output until then (RFC 860)."""
    typist.send(b"\xff\xfd\x06")
    assert typist.read() == b"\xff\xfc\x06"


def test_a_line_mode_client_sees_the_prompt_after_its_interrupt(server: Any) -> None:
    """inetutils-telnet sends IP, a synch and DO TIMING-MARK, and drops output until then."""
    client = server.connect().log_in()
    client.send(b"\xff\xf4\xff\xf2\xff\xfd\x06")
    assert client.read() == b"KeyboardInterrupt\r\n>>> \xff\xfc\x06\r\n>>> "


# --- what was typed ahead, and poison --------------------------------------------------


def test_everything_typed_at_once(server: Any) -> None:
    client = server.connect()
    client.send(b"admin\nwoohoo\n1+1\nquit()\n")
    assert client.read().endswith(b"username: password: >>> 2\r\n>>> ")
    assert client.transport.closed


def test_end_of_input_waits_for_what_was_typed(server: Any) -> None:
    client = server.connect()
    client.session.data_received(b"admin\nwoohoo\nfrom asyncio import sleep\nawait sleep(0, 5)\n")
    assert client.session.eof_received()
    assert not client.transport.closed
    server.settle()
    assert client.read().endswith(b"5\r\n>>> ")
    assert client.transport.closed


def test_a_unit_of_input_is_a_line(server: Any) -> None:
    session = server.connect().log_in().session
    assert session.input_unit(b"one\r\ntwo\r\n") == 5
    assert session.input_unit(b"one\r\0two") == 5
    assert session.input_unit(b"one\ntwo") == 4
    assert session.input_unit(b"one") == 3
    naws = b"\xff\xfa\x1f\x00\x0a\x00\x0d\xff\xf0"
    assert session.input_unit(naws + b"one\ntwo\n") == len(naws) + 4
    assert session.input_unit(b"\xff\xfd\x0aone\ntwo\n") == 7
    session.data_received(b"\xff")
    assert session.input_unit(b"\xfd\x0aone\ntwo\n") == 6


def test_skipped_input_is_shown_and_forgotten(server: Any) -> None:
    client = server.connect().log_in()
    client.send(b"if 1:\n    import os\n    os._")
    client.read()
    client.session.input_skipped(b"exit(1)\n")
    assert client.read() == (
        b"\r\nThe server was killed while running this; it was not applied:\r\n"
        b"if 1:\r\n    import os\r\n    os._exit(1)\r\n>>> "
    )
    assert client.ask(b"2") == "2\n"


def test_skipped_keys_are_shown_and_forgotten(typist: Any) -> None:
    typist.send(b"die")
    typist.read()
    typist.session.input_skipped(b"()\r\0\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0")
    assert typist.read().endswith(b"it was not applied:\r\ndie()\r\n>>> ")
    typist.send(b"2\r\0")
    assert typist.read() == b"2\r\n2\r\n>>> "
    assert typist.session.wire.width == 80


# --- limits ---------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1000, 1 << 20])
def test_a_line_that_is_too_long_is_dropped(server: Any, chunk: int) -> None:
    client = server.connect().log_in()
    line = b"x" * (1 << 20) + b"\n"
    for start in range(0, len(line), chunk):
        client.send(line[start : start + chunk])
        assert len(client.session.pending) <= 65536
    assert client.read() == b"The line was too long (64 KiB are allowed); it was dropped.\r\n>>> "
    assert client.ask(b"1") == "1\n"


def test_a_typed_line_that_is_too_long_is_dropped(typist: Any) -> None:
    for _ in range(300):
        typist.send(b"x" * 1000)
    assert len(typist.session.editor.text) <= 65536
    typist.read()
    typist.send(b"\r\0")
    assert b"it was dropped.\r\n>>> " in typist.read()
    typist.send(b"1\r\0")
    assert typist.read() == b"1\r\n1\r\n>>> "


def test_a_paste_without_end_is_taken_as_typed(typist: Any) -> None:
    typist.server.service.block_characters_max = 1000
    typist.send(b"\x1b[200~" + b"#" * 2000 + b"\r1\r")
    assert typist.read().endswith(b">>> 1\r\n1\r\n>>> ")


def test_too_many_connections_are_turned_away(server: Any) -> None:
    server.service.connections_max = 2
    first = server.connect()
    server.connect()
    transport = server.refuse()
    assert bytes(transport.output) == b"Too many connections; try again later.\r\n"
    assert transport.closed
    first.session.connection_lost(None)
    server.connect()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"\xff", b"\x1b[", b"\n"]))))
def test_junk_disturbs_nobody(make_server: Any, junk: list[bytes]) -> None:
    server = make_server()
    quiet, noisy = server.connect().log_in(), server.connect().accept_character_mode()
    for chunk in junk:
        noisy.send(chunk)
    noisy.read()
    assert quiet.ask(b"1+1") == "2\n"


def test_the_main_modules_names(server: Any) -> None:
    client = server.connect().log_in()
    assert client.ask(b"__name__") == "'__main__'\n"


def test_typed_code_is_in_main_as_at_pythons_own_prompt(server: Any) -> None:
    client = server.connect().log_in()
    for line in (
        b"from __future__ import annotations",
        b"import pickle, dataclasses, typing",
        b"class D: k: typing.ClassVar[list] = []; x: int = 1",
        b"D = dataclasses.dataclass(D)",
        b"def hints(): return typing.get_type_hints(D)['x'], len(dataclasses.fields(D))",
        b"",
        b"def there(x): return pickle.loads(pickle.dumps(x))",
        b"",
    ):
        client.ask(line)
    for _ in range(2):
        assert client.ask(b"hints()") == "(<class 'int'>, 1)\n"
        assert client.ask(b"there(D(5))") == "D(x=5)\n"
        assert client.ask(b"import __main__; __main__.D is D") == "True\n"
        server.kill()


def test_functions_made_by_exec_outlive_a_kill(server: Any) -> None:
    client = server.connect().log_in()
    client.ask(b"exec('def f(x):\\n    return 1 / x')")
    client.ask(b"g = eval('lambda x: f(x) + 1')")
    for _ in range(2):
        assert client.ask(b"g(1)") == "2.0\n"
        told = client.ask(b"exec('g(0)')")
        assert "ZeroDivisionError" in told
        assert "return 1 / x" in told
        assert "executed.py" not in told
        server.kill()
    assert client.ask(b"exec('oops(')").endswith("SyntaxError: '(' was never closed\n")
