"""What all code of this process shares, and what any of it can break for all: `builtins`.

Typed code may replace a builtin by another function: that is Python. One that can't be called
any more, or is gone, leaves nobody able to work, and what fails then looks like the
fault of whose turn it is. So where anything fails it is asked here first, and the
process ends; the next one has its builtins back, and what broke them is skipped.

Imports `errors`. Nothing here uses a builtin but those that it took at its import.
"""

from __future__ import annotations

import builtins

from tapd.errors import InterpreterBroken

_names = vars(builtins)
_missing = object()
_callable, _all, _map = callable, all, map
_needed = tuple(name for name, value in _names.items() if callable(value))


def check_builtins(error: BaseException | None = None) -> None:
    """Check that every builtin that could be called at the start still can be.

    Args:
        error: what failed, and may have failed of that.

    Raises:
        InterpreterBroken: one can't. It ends the turn, and the process.
    """
    # First in C: it is asked for each name that a save looks for in vain.
    if _all(_map(_callable, _map(_names.get, _needed))):
        return
    for name in _needed:
        if not _callable(_names.get(name, _missing)):
            raise InterpreterBroken(
                "code in this process replaced builtins." + name + " by what can't be called; "
                "the next process has it back"
            ) from error
