"""Isolates errors of authors' hooks: each costs one object, never a whole save or load.

A hook is any code of an author that saving or loading runs: ``__reduce__``, ``__setstate__``,
``__getstate__``, ``__getattr__``, a property, an iterator's ``__next__``. It may raise any
`BaseException` (SystemExit, CancelledError).

Three things look like a hook's error and are not: Ctrl-C or anything else that a signal handler
raises; a lack of memory; a graph too deep for the C stack, which a flatter form can save. An
error from a ``raise`` statement outside of a signal handler is certainly a hook's; `is_of_hook`
decides the other cases.
"""

from __future__ import annotations

import functools
import signal
import types
from collections.abc import Callable
from typing import Any

from tapd.errors import CannotKeep, UpgradeRefused
from tapd.interpreter import check_builtins

announce: Callable[[object], None] | None = None
"""Called before each call into an author's code, when earlier loads killed the process."""

_FRAMES_MAX = 60
"""More frames than this inside of one hook are its own recursion, not the graph's depth."""
_REASON_MAX = 1000


def enter(called: object) -> None:
    """Announce that a load calls an author's code next, which may kill the process.

    Args:
        called: the object or class whose code it is, or its name.

    Raises:
        CannotKeep: it has killed every time and must not be called.
    """
    if announce is not None:
        announce(called)


def is_of_hook(error: BaseException, *, nests: bool = True) -> bool:
    """Whether `error` was raised by a hook, so that it costs only the hook's object.

    Args:
        error: the exception, with its traceback.
        nests: whether the pickler recurses, so that the graph may be too deep.

    Raises:
        InterpreterBroken: the error is not the fault of the object being saved.
    """
    check_builtins(error)
    if isinstance(error, Exception) and not isinstance(error, (MemoryError, RecursionError)):
        return True
    frames = _frames(error)
    if _is_of_handler(frames):
        return False
    if frames and _was_raised(*frames[-1]):
        return True
    if isinstance(error, RecursionError):
        return not nests or len(frames) > _FRAMES_MAX
    return not isinstance(error, (KeyboardInterrupt, MemoryError))


def check(error: BaseException, *, nests: bool = True) -> None:
    """Raise `error` again unless a hook raised it."""
    if not is_of_hook(error, nests=nests):
        raise error


def check_load(error: BaseException) -> None:
    """Raise `error` again unless it costs a load just one object.

    A refusal and a lack of memory always end the load.
    """
    if isinstance(error, (UpgradeRefused, MemoryError)) or not is_of_hook(error, nests=False):
        raise error


def describe(error: BaseException) -> str:
    """Return type and text of `error`, even if its ``__str__`` fails."""
    try:
        text = str(error)
    except BaseException as another:
        check(another, nests=False)
        text = "its message is not available"
    return shortened(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def shortened(reason: str) -> str:
    """Return `reason`, cut if it is long: it may contain somebody's whole data."""
    return reason if len(reason) <= _REASON_MAX else f"{reason[:_REASON_MAX]}..."


def called(hook: Callable[..., Any], *args: Any) -> Any:
    """Call `hook` and return its result.

    Raises:
        CannotKeep: it raised something of its own.
    """
    try:
        return hook(*args)
    except CannotKeep:
        raise
    except BaseException as error:
        check(error)
        raise CannotKeep(describe(error)) from None


def _frames(error: BaseException) -> list[tuple[types.CodeType, int]]:
    """Return code and last instruction of each frame in the traceback, outermost first.

    The first frame is the caller's and is left out.
    """
    frames = []
    entry = error.__traceback__
    while entry is not None:
        frames.append((entry.tb_frame.f_code, entry.tb_lasti))
        entry = entry.tb_next
    return frames[1:]


def _was_raised(code: types.CodeType, at: int) -> bool:
    return 0 <= at < len(code.co_code) and code.co_code[at] == _raise_opcode()


@functools.cache
def _raise_opcode() -> int:
    import opcode  # noqa: PLC0415 - only where something failed

    return opcode.opmap["RAISE_VARARGS"]


def _is_of_handler(frames: list[tuple[types.CodeType, int]]) -> bool:
    """Whether one of these frames belongs to a signal handler."""
    handlers = set()
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        code = getattr(getattr(handler, "__func__", handler), "__code__", None)
        if type(code) is types.CodeType:
            handlers.add(id(code))
    return any(id(code) in handlers for code, _at in frames)
