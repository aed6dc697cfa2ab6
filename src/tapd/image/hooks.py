"""What an author's hook raises costs its object alone, saved or loaded: decided here.

Imports `errors` and `interpreter`. A hook is any code of an author's that saving or loading
runs: ``__reduce__``, ``__setstate__``, ``__getstate__``, ``__getattr__``, a property, an iterator's
``__next__``. It may raise what is no `Exception`, too (SystemExit, CancelledError).

Three things look like a hook's and are not: Ctrl-C, or whatever else a handler of
signals raises; a lack of memory; and a graph that nests too deeply for the C stack,
which a flatter form can save. What was raised by a ``raise`` statement in no
handler of signals is a hook's for certain; `is_of_hook` says the rest.
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
"""Called before each of an author's calls that a load makes, where loads have killed."""

_FRAMES_MAX = 60
"""So many calls inside of one hook are its own recursion, and no graph's."""
_REASON_MAX = 1000


def enter(called: object) -> None:
    """Say that an author's code is called next by a load, which it may kill.

    Args:
        called: the object or class whose code it is, or its name.

    Raises:
        CannotKeep: it has killed each time, and is not to be called.
    """
    if announce is not None:
        announce(called)


def is_of_hook(error: BaseException, *, nests: bool = True) -> bool:
    """Whether `error` is a hook's own, so that it costs no more than the hook's object.

    Args:
        error: what was caught, with its traceback.
        nests: whether the pickler's own recursion may be what is too deep.

    Raises:
        InterpreterBroken: it is no one's fault who was being saved.
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
    """Raise `error` again where it is no hook's own."""
    if not is_of_hook(error, nests=nests):
        raise error


def check_load(error: BaseException) -> None:
    """Raise `error` again where it costs a load more than one object: it is no hook's own.

    A refusal and a lack of memory are always of that kind.
    """
    if isinstance(error, (UpgradeRefused, MemoryError)) or not is_of_hook(error, nests=False):
        raise error


def describe(error: BaseException) -> str:
    """Return type and text of `error`, whose own ``__str__`` may fail."""
    try:
        text = str(error)
    except BaseException as another:
        check(another, nests=False)
        text = "its text can't be had"
    return shortened(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def shortened(reason: str) -> str:
    """Return `reason` without its end where it is long: it may hold all of somebody's data."""
    return reason if len(reason) <= _REASON_MAX else f"{reason[:_REASON_MAX]}..."


def called(hook: Callable[..., Any], *args: Any) -> Any:
    """Return what `hook` returns.

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
    """Return code and last instruction of each frame that `error` came through, outermost first.

    The first is that of who asks, so it is left out.
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
    """Whether one of these frames is that of a handler of signals."""
    handlers = set()
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        code = getattr(getattr(handler, "__func__", handler), "__code__", None)
        if type(code) is types.CodeType:
            handlers.add(id(code))
    return any(id(code) in handlers for code, _at in frames)
