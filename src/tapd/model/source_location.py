"""Locations in an author's code, for warnings that name the line to change.

Frames of tapd itself, of asyncio and of the standard library are left out: an author
can't change those.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType

_log = logging.getLogger("tapd.author")

_OURS = f"{Path(__file__).parents[1]}{os.sep}"
_SERVER_TYPES = f"{_OURS}services{os.sep}"
_FACTORIES = f"{_SERVER_TYPES}app{os.sep}"
_TURNS = f"{_OURS}net{os.sep}"
_STDLIB = f"{Path(os.__file__).parent}{os.sep}"

_GENERATED = "<string>"
"""The file name that Python gives to the methods it generates, for a dataclass, say."""

_told: set[str] = set()
_TOLD_MAX = 1000
_CALLS_MAX = 3


def is_authors(filename: str) -> bool:
    """Whether `filename` is served code: a server type's, or typed at a prompt."""
    if filename.startswith(_OURS):
        return filename.startswith(_SERVER_TYPES) and not filename.startswith(_FACTORIES)
    if filename.startswith(_STDLIB) and "-packages" not in filename:
        return False
    return not filename.startswith("<frozen")


def _authors_frames(frame: FrameType | None) -> list[FrameType]:
    frames: list[FrameType] = []
    while frame is not None:
        filename = frame.f_code.co_filename
        if is_authors(filename):
            frames.append(frame)
        elif frames and filename.startswith(_TURNS):
            break  # the turn's callers don't matter
        frame = frame.f_back
    return frames


def callback_frame(frame: FrameType | None) -> FrameType | None:
    """Return the frame of the author's method that a turn called; None if there is none."""
    frames = _authors_frames(frame)
    return frames[-1] if frames else None


def describe_place(frame: FrameType | None) -> str:
    """Return the callback that runs in `frame` and the line that it has reached.

    As ``Room.start (chat.py:12)``, or with both if the line is in another function;
    "" if no author's code is running.
    """
    frames = _authors_frames(frame)
    if not frames:
        return ""
    inner, outer = frames[0], frames[-1]
    at = f"{inner.f_code.co_filename}:{inner.f_lineno}"
    if inner is outer:
        return f"{outer.f_code.co_qualname} ({at})"
    return f"{outer.f_code.co_qualname}, in {inner.f_code.co_qualname} ({at})"


def describe_origin(error: BaseException) -> str:
    """Return the author's lines that `error` came from, innermost first, in brackets.

    As `` (chat.py:12 in start, called at chat.py:7 in <module>)``; "" if there are none.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if is_authors(frame.filename) and frame.filename != _GENERATED
    ]
    places = [f"{f.filename}:{f.lineno} in {f.name}" for f in reversed(frames[-_CALLS_MAX:])]
    return f" ({', called at '.join(places)})" if places else ""


def warn_once(message: str, *, place: str) -> None:
    """Warn with `message` and `place`, once per place and process."""
    key = f"{message} {place}"
    if key in _told or len(_told) > _TOLD_MAX:
        return
    _told.add(key)
    _log.warning("%s", message.replace("{place}", place or "unknown code"))


def warn_of_thread(what: str) -> None:
    """Warn that `what` happened in a thread that runs no turns; called in that thread."""
    place = describe_place(sys._getframe(1))
    warn_once(
        f"{what} in the thread {threading.current_thread().name!r}, by {{place}}: a commit may see "
        "half of it. Have the thread return its result, by application.run_blocking, and "
        "change state in what is called with it; or give what changes it to "
        "application.call_soon_threadsafe",
        place=place,
    )


def warn_of_no_handler(protocol: object, method: str) -> None:
    """Warn that `protocol` gets input for which its class does not override `method`."""
    cls = type(protocol)
    warn_once(
        f"{cls.__module__}.{cls.__qualname__} has no {method}, so what it gets is dropped; "
        "write that method (mind its spelling)",
        place=method,
    )


def warn_of_no_protocol(service: object) -> None:
    """Warn that `service` gets input but defines no protocol."""
    warn_once(
        f"{service!r} has no protocol, so what its connections get is dropped; write "
        "`protocol = ...` in its class (mind the spelling)",
        place="",
    )
