"""Isolates exceptions raised by authors' code: each affects one object, never the turn.

Authors' code is whatever a turn calls and tapd did not write: the methods of protocols
and services, timers, the callbacks of tasks and threads. It may raise anything, SystemExit,
KeyboardInterrupt, CancelledError and GeneratorExit included: `sys.exit()` in a method ends
that method. Even the ``__repr__`` that a log line asks for may raise. So every such call is
made in a ``try`` whose ``except BaseException`` calls `failed`, or by `attempt`, which does
both.
`image.hooks` has the same rule for the hooks that pickling runs.

An exception from anything else breaks the turn: input was run and is not committed, so the
process ends at once (`net.turn.turn`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from tapd.interpreter import check_builtins

_log = logging.getLogger(__name__)


def name_of(obj: object) -> str:
    """Return the ``repr`` of an author's object, or Python's own where that raises."""
    try:
        return repr(obj)
    except BaseException:
        return object.__repr__(obj)


def text_of(error: BaseException) -> str:
    """Return the text of an author's exception, or its class where that raises."""
    try:
        return str(error)
    except BaseException:
        return type(error).__name__


def failed(where: str, error: BaseException, fields: Mapping[str, Any] | None = None) -> None:
    """Log that an author's code raised `error`.

    Args:
        where: which code, as the line's beginning.
        error: what it raised, with its traceback.
        fields: of the journal.

    Raises:
        InterpreterBroken: the interpreter is at fault, not that code.
    """
    check_builtins(error)
    try:
        _log.error("%s", where, exc_info=error, extra=fields)
    except BaseException as another:  # rendering a traceback runs the exception's code
        first, second = type(error).__name__, type(another).__name__
        _log.error("%s: %s, and what its traceback shows raised %s", where, first, second)


def attempt(obj: object, name: str, *args: Any, where: str = "") -> bool:
    """Call the method `name` of an author's object; return whether it returned.

    An exception is logged, after `where`. The method is looked up here as well: it may be a
    property.
    """
    try:
        getattr(obj, name)(*args)
    except BaseException as error:
        failed(f"{where}{name_of(obj)} failed in {name}", error)
        return False
    return True
