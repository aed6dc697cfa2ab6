"""Ends the process immediately after a turn failed halfway.

Input was processed and not committed, so memory holds a state that must never be used.
"""

from __future__ import annotations

import logging
import os

from tapd import events
from tapd.errors import InterpreterBroken
from tapd.interpreter import check_builtins

_log = logging.getLogger(__name__)

_exit = os._exit
_write = os.write
"""Bound at import: typed code may replace anything in a module."""

GOES_ON = "the next goes on from the last commit"


def end_unclean(error: BaseException, what_next: str = GOES_ON) -> None:
    """End this process as a crash. The cause may break logging as well.

    Args:
        error: the cause.
        what_next: what happens to the state, for the log.
    """
    try:
        check_builtins()
        _log.critical(
            "a turn broke, so this process ends; %s",
            what_next,
            exc_info=error,
            extra=events.TURN_FAILED(),
        )
        logging.shutdown()
    except InterpreterBroken as broken:  # logging is impossible without builtins
        _write(2, f"a turn broke, so this process ends; {what_next}: {broken.args[0]}\n".encode())
    finally:
        _exit(1)
