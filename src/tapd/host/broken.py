"""The end of a process of which a turn broke: at once, whatever fails on the way.

Input was run and is not committed, so what is in memory is nobody's state. Imports
`events` and `interpreter`.
"""

from __future__ import annotations

import logging
import os

from tapd import events
from tapd.errors import InterpreterBroken
from tapd.interpreter import check_builtins

log = logging.getLogger(__name__)

_exit = os._exit
_write = os.write
"""Both taken at the import: typed code may replace anything that has a name in a module."""

GOES_ON = "the next goes on from the last commit"


def end_unclean(error: BaseException, what_next: str = GOES_ON) -> None:
    """End this process as a crash. What broke the turn may break a log line as well.

    Args:
        error: what broke it.
        what_next: what becomes of the state.
    """
    try:
        check_builtins()
        log.critical(
            "a turn broke, so this process ends; %s",
            what_next,
            exc_info=error,
            extra=events.TURN_FAILED(),
        )
        logging.shutdown()
    except InterpreterBroken as broken:  # no log line can be made without builtins
        _write(2, f"a turn broke, so this process ends; {what_next}: {broken.args[0]}\n".encode())
    finally:
        _exit(1)
