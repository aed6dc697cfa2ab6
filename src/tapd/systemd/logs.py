"""Logging: to the journal with fields, or as readable lines on stderr.

Under systemd ``$JOURNAL_STREAM`` names the device and inode of stderr (systemd.exec(5)). If
they match, records go through systemd-python's ``sendv`` with priority, source and every
``TAPD_*`` extra as a field. Its own `JournalHandler` is not used: it would also send the
arguments and all other attributes of a record, and secrets must stay out. Only its extension
module is imported, at the first record: `systemd.journal` takes 16 ms and 2 MB for reading
journals.

Elsewhere a record is a line. It may contain input from a peer, so control and format characters
are escaped: no line can be forged and no terminal controlled. Text after the message, such as a
traceback, is indented for the same reason.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from typing import IO, Any


@functools.cache  # compiled at first use: saves 0.7 ms of a start
def _unsafe() -> re.Pattern[str]:
    # C0, DEL and C1; line and paragraph separators; bidirectional controls, which disguise
    # text as other text; and lone surrogates, which can't be encoded.
    return re.compile(
        "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
    )


_FIELD = re.compile(r"TAPD_[A-Z0-9_]{1,59}\Z")
_JOURNAL_LOST = "the journal can't be written; logging goes on as plain lines"


def escape(text: str) -> str:
    r"""Return `text` with characters harmful to a terminal or log as \xNN or \uNNNN."""
    if text.isascii() and text.isprintable():
        return text
    return _unsafe().sub(_escape_one, text)


def _escape_one(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def priority(level: int) -> int:
    """Return the syslog priority (sd-daemon(3)) of a logging level."""
    for limit, number in (
        (logging.DEBUG, 7),
        (logging.INFO, 6),
        (logging.WARNING, 4),
        (logging.ERROR, 3),
    ):
        if level <= limit:
            return number
    return 2


class _Text(logging.Formatter):
    """The text of a record: its message on one line, its traceback indented below."""

    def format(self, record: logging.LogRecord) -> str:
        lines = [escape(record.getMessage())]
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        for more in (record.exc_text, record.stack_info):
            if more:
                lines += ["    " + escape(line) for line in more.split("\n")]
        return "\n".join(lines)


class _Line(_Text):
    """The format for people, on stderr."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"{when} {level}{super().format(record)}"


class _Prefixed(_Text):
    """The format for the journal on a stream: each line begins with <PRIORITY>."""

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{priority(record.levelno)}>"
        return "\n".join(mark + line for line in super().format(record).split("\n"))


class JournalHandler(logging.StreamHandler[Any]):
    """Sends records to the journal; falls back to lines on a stream that the journal reads."""

    def __init__(self, name: str, stream: IO[str]) -> None:
        """Log as `name` (SYSLOG_IDENTIFIER); `stream` stays the caller's."""
        super().__init__(stream)
        self.setFormatter(_Prefixed())
        self._text = _Text()
        self._name = name
        self._is_broken = False

    def emit(self, record: logging.LogRecord) -> None:
        """Send `record`, with its TAPD_* extras and MESSAGE_ID as fields."""
        if not self._is_broken:
            try:
                self._send(record)
            except (ImportError, OSError):
                self._is_broken = True
                super().emit(logging.makeLogRecord({"levelno": 30, "msg": _JOURNAL_LOST}))
            except Exception:
                self.handleError(record)
                return
            else:
                return
        super().emit(record)

    def _send(self, record: logging.LogRecord) -> None:
        from systemd import _journal  # noqa: PLC0415 - see the module's docstring

        fields = {
            name: escape(str(value)) for name, value in vars(record).items() if _FIELD.match(name)
        }
        if message_id := getattr(record, "MESSAGE_ID", None):
            fields["MESSAGE_ID"] = str(getattr(message_id, "hex", message_id))
        fields |= {
            "MESSAGE": self._text.format(record),
            "PRIORITY": str(priority(record.levelno)),
            "SYSLOG_IDENTIFIER": self._name,
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
        }
        _journal.sendv(*(f"{name}={value}" for name, value in fields.items()))


def is_journal(stream: IO[str], environ: Mapping[str, str]) -> bool:
    """Whether `stream` is the one that the journal reads, by $JOURNAL_STREAM."""
    device, colon, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # a stream without a descriptor
        return False
    return bool(colon) and (device, inode) == (str(status.st_dev), str(status.st_ino))


def configure_logging(
    name: str,
    stream: IO[str] | None = None,
    environ: Mapping[str, str] | None = None,
    level: int = logging.INFO,
) -> None:
    """Send all records of the process to the journal, or as lines to `stream`.

    Replaces the handlers of the root logger.

    Args:
        name: the instance: SYSLOG_IDENTIFIER in the journal.
        stream: where lines go; sys.stderr by default. It stays the caller's.
        environ: the environment; os.environ by default.
        level: below it, records are dropped.
    """
    stream = sys.stderr if stream is None else stream
    handler: logging.Handler
    if is_journal(stream, os.environ if environ is None else environ):
        handler = JournalHandler(name, stream)
    else:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(_Line())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # If the terminal is gone, don't report that on it.
    logging.raiseExceptions = False
