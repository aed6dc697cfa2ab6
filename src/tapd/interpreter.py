"""Detects broken `builtins`, which all code in this process shares.

Typed code may replace a builtin with another function: Python allows it. If one is gone or
can't be called any more, nothing works, and each failure looks like the fault of
the current turn. So after any failure the builtins are checked first, and the process
ends if one is broken. The next process has its builtins back, and the poison input is
skipped.

This module uses only the builtins that it captured at import.
"""

from __future__ import annotations

import builtins

from tapd.errors import InterpreterBroken

_names = vars(builtins)
_missing = object()
_callable, _all, _map = callable, all, map
_needed = tuple(name for name, value in _names.items() if callable(value))


def check_builtins(error: BaseException | None = None) -> None:
    """Check that every builtin that was callable at the start still is.

    Args:
        error: the failure, which a broken builtin may have caused.

    Raises:
        InterpreterBroken: one is not. It ends the turn, and the process.
    """
    # First in C: a save comes here for each name that it does not find.
    if _all(_map(_callable, _map(_names.get, _needed))):
        return
    for name in _needed:
        if not _callable(_names.get(name, _missing)):
            raise InterpreterBroken(
                "code in this process replaced builtins." + name + " by what can't be called; "
                "the next process has it back"
            ) from error
