"""What an author's code raises costs its own object, and never the turn: the one rule for it.

An author's code is whatever a turn calls and tapd did not write: the methods of protocols
and services, timers, what tasks and threads hand back. It may raise anything, SystemExit,
KeyboardInterrupt, CancelledError and GeneratorExit included: `sys.exit()` in a method ends
that method. Even the ``__repr__`` that a log line asks for may raise. So every such call is
made inside of an ``except BaseException`` which calls `failed`, or by `attempt`, which does
both. The hooks that pickling runs have the same rule in `image.hooks`.

What anything else in a turn raises is a broken turn: input was run and is not committed, so
the process ends at once (`net.turn.turn`).

Imports `interpreter`.
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
        InterpreterBroken: it is not its fault.
    """
    check_builtins(error)
    try:
        _log.error("%s", where, exc_info=error, extra=fields)
    except BaseException as another:  # of what the traceback asks the exception
        first, second = type(error).__name__, type(another).__name__
        _log.error("%s: %s, and what its traceback shows raised %s", where, first, second)


def attempt(obj: object, name: str, *args: Any, where: str = "") -> bool:
    """Call the method `name` of an author's object; return whether it returned.

    What it raises is logged, after `where`. The method is looked up here as well: it may be
    a property.
    """
    try:
        getattr(obj, name)(*args)
    except BaseException as error:
        failed(f"{where}{name_of(obj)} failed in {name}", error)
        return False
    return True
