"""Classifies the errno of a failed system call: the peer's fault, transient, or fatal.

Theory of operation
===================

A system call on one of our descriptors can fail for three reasons, each with its own
consequence:

| reason | errno | consequence |
|---|---|---|
| the peer or the path to it is gone | `GONE` | this connection ends: its protocol is told |
| a transient condition | `AGAIN` | none: the call is repeated |
| the descriptor was closed or replaced | EBADF, or any other | this process ends at once |

The third is not recognized by its errno. Whatever the error, the kernel is asked for the
socket's cookie (SO_COOKIE), or for the file's device and inode. Foreign code in this
process (typed, imported) can close a descriptor, and its number may refer to another file
by now. Then nothing that this process knows of it is valid, while the connection itself
is in the vault and the state in the journal. So the process ends, and the next one has
all of it again: `DescriptorLost` propagates through a turn and ends the process.

Any other errno, on an unchanged descriptor, ends only that connection.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from tapd.errors import DescriptorLost

GONE = frozenset(
    {errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH,
     errno.ENOTCONN, errno.ESHUTDOWN, errno.ECONNABORTED}
)  # fmt: skip
"""Errors of recv and send if the peer or the path is gone."""

NO_MEMORY = frozenset({errno.ENOMEM, errno.ENOBUFS})

AGAIN = NO_MEMORY | {errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR}
"""Transient errors: the same call may succeed a moment later."""

_TRIES = 100

_Result = TypeVar("_Result")


def insist(call: Callable[[], _Result], tried_again: frozenset[int] = NO_MEMORY) -> _Result:
    """Return the result of `call`, repeating it while the kernel lacks memory for it.

    For indispensable calls that don't block.

    Args:
        call: makes the system call.
        tried_again: the errnos after which it is repeated.

    Raises:
        MemoryError: it lacked memory each time. Not an `OSError`: it must not be taken
            for the end of a connection.
        OSError: it failed with another error.
    """
    for _attempt in range(_TRIES):
        try:
            return call()
        except OSError as error:
            if error.errno not in tried_again:
                raise
            last = error
    raise MemoryError(f"the kernel has no memory: {last}") from last


def check_same(is_same: Callable[[], bool], error: OSError, what: object) -> None:
    """After a failed call: return if the descriptor of `what` is still the same.

    Args:
        is_same: asks the kernel; may fail with `OSError`.
        error: the call's error.
        what: named in the message.

    Raises:
        DescriptorLost: it is closed, or its number refers to another file.
    """
    try:
        if insist(is_same):
            return
    except OSError as failure:
        reason = failure.strerror
    else:
        reason = "its number is another's now"
    raise lost(what, reason) from error


def lost(what: object, reason: str | None) -> DescriptorLost:
    """Return the error for a descriptor of `what` that was closed or replaced."""
    return DescriptorLost(
        f"the descriptor of {what} was closed by code in this process ({reason}); "
        "the next process goes on with all that it had"
    )
