"""Logs: lines that can't be forged, and journal fields."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.systemd.logs import configure_logging, escape, is_journal, priority

log = logging.getLogger("tapd.test")


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], root.level, logging.raiseExceptions = handlers, level, raises


def fail(text: str) -> None:
    raise ValueError(text)


def test_lines_for_people() -> None:
    stream = io.StringIO()
    configure_logging("x", stream, {})
    log.info("hello %s", "Käthe")
    log.debug("not shown")
    log.warning("careful")
    first, second = stream.getvalue().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d hello Käthe", first)
    assert second.endswith(" warning: careful")


def test_a_peer_forges_no_line_and_drives_no_terminal() -> None:
    stream = io.StringIO()
    configure_logging("x", stream, {})
    log.info("user %s failed", "a\n2026-01-01 root logged in\x1b[2J\x9b1m\u202egnp\u2028\udc80\x00")
    assert stream.getvalue().endswith(
        "user a\\x0a2026-01-01 root logged in\\x1b[2J\\x9b1m\\u202egnp\\u2028\\udc80\\x00 failed\n"
    )
    assert stream.getvalue().count("\n") == 1


def test_tracebacks_are_indented() -> None:
    stream = io.StringIO()
    configure_logging("x", stream, {})
    try:
        fail("one\n2026-01-01 root logged in\x1b[2J")
    except ValueError:
        log.exception("failed")
    head, *rest = stream.getvalue().splitlines()
    assert head.endswith("error: failed")
    assert len(rest) > 3
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in stream.getvalue()


@given(st.text())
def test_escaped_text_is_one_encodable_line(text: str) -> None:
    escaped = escape(text)
    assert len(escaped.splitlines()) <= 1
    escaped.encode()
    assert all(character.isprintable() or ord(character) > 0x9F for character in escaped)
    if text.isprintable():
        assert escaped == text


def test_priorities() -> None:
    levels = [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL, 25]
    assert [priority(level) for level in levels] == [7, 6, 4, 3, 2, 4]


def test_journal_stream_is_compared(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as stream:
        status = os.fstat(stream.fileno())
        named = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert is_journal(stream, named)
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:1"})
        assert not is_journal(stream, {})
        assert not is_journal(stream, {"JOURNAL_STREAM": "x"})
    assert not is_journal(io.StringIO(), named)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A stream that counts as the journal's, and what systemd-python was given."""
    from systemd import _journal

    sent: list[Any] = []
    monkeypatch.setattr(_journal, "sendv", lambda *fields: sent.append(fields))
    with (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        configure_logging("telnet", stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        yield {"sent": sent, "stream": stream, "path": tmp_path / "stderr"}


def test_journal_fields(journal: dict[str, Any]) -> None:
    message_id = uuid.uuid4()
    extra = {
        "TAPD_PEER": "192.0.2.1\n",
        "TAPD_KEY": 7,
        "TAPD_lower": "dropped",
        "password": "never",
        "MESSAGE_ID": message_id,
    }
    log.error("refused %s\n", "s\x1becret", extra=extra)
    ((*fields,),) = journal["sent"]
    assert "MESSAGE=refused s\\x1becret\\x0a" in fields
    assert "PRIORITY=3" in fields
    assert "SYSLOG_IDENTIFIER=telnet" in fields
    assert "LOGGER=tapd.test" in fields
    assert "TAPD_PEER=192.0.2.1\\x0a" in fields
    assert "TAPD_KEY=7" in fields
    assert f"MESSAGE_ID={message_id.hex}" in fields
    assert f"CODE_FILE={__file__}" in fields
    assert "CODE_FUNC=test_journal_fields" in fields
    text = "\n".join(map(str, fields))
    assert "never" not in text
    assert "dropped" not in text
    assert "ARGS" not in text


def test_traceback_in_the_journal(journal: dict[str, Any]) -> None:
    try:
        fail("x")
    except ValueError:
        log.exception("failed")
    (message,) = [field for field in journal["sent"][0] if field.startswith("MESSAGE=")]
    assert message.startswith("MESSAGE=failed\n    Traceback")


def test_without_a_journal_lines_carry_their_priority(
    journal: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """sd-daemon(3): <N> at the beginning of each line."""
    monkeypatch.setitem(sys.modules, "systemd", None)
    log.error("one\ntwo")
    log.info("three")
    journal["stream"].flush()
    lines = journal["path"].read_text().splitlines()
    assert lines[0].startswith("<4>the journal can't be written")
    assert lines[1:] == ["<3>one\\x0atwo", "<6>three"]


def test_a_stream_that_is_gone_disturbs_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w", buffering=1)
    configure_logging("x", stream, {})
    os.close(reading)
    log.info("nobody reads this")
    assert capsys.readouterr().err == ""
    with pytest.raises(BrokenPipeError):
        stream.close()
