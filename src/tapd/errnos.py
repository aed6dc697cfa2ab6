"""What the errno of a failed system call says: of the peer, of the moment, or of this process.

Theory of operation
===================

Each system call on a descriptor of ours can fail for three reasons, and each has
another who pays for it:

| reason | errno | who pays |
|---|---|---|
| the peer or the path to it is gone | `GONE` | this connection: its protocol is told |
| nothing is wrong that will not pass | `AGAIN` | nobody: the call is made again |
| the descriptor is not what it was | EBADF, or any other | this process: it ends at once |

The third is found by a question and not by its number: whatever a call failed with, the
kernel is asked for the socket's cookie (SO_COOKIE), or for the file's device and inode.
Foreign code in this process (typed, imported) can close a descriptor, and its number may
be another's by now. Then nothing that is known of it holds here, while the connection
itself lies in the vault and the state in the journal. So the process ends, and the next
one has all of it again: `DescriptorLost` goes through a turn to its end.

An errno in none of the rows, on a descriptor that is what it was, costs the one connection.

May import `errors`.
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
"""What recv and send fail with when the peer or the path is gone."""

NO_MEMORY = frozenset({errno.ENOMEM, errno.ENOBUFS})

AGAIN = NO_MEMORY | {errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR}
"""What says nothing of the descriptor: the same call may succeed a moment later."""

_TRIES = 100

_Result = TypeVar("_Result")


def insist(call: Callable[[], _Result], tried_again: frozenset[int] = NO_MEMORY) -> _Result:
    """Return what `call` returns, and call it again where the kernel lacks memory for it.

    For calls that nothing can be done without, and that don't block.

    Args:
        call: makes it.
        tried_again: what else, or instead, it is called again for.

    Raises:
        MemoryError: it lacked memory each time. Not an `OSError`: it must not be taken
            for the end of a connection.
        OSError: it failed with something else.
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
    """Return where the descriptor of `what`, on which a call failed, is what it was.

    Args:
        is_same: asks the kernel; may fail with `OSError`.
        error: what the call failed with.
        what: is named in the message.

    Raises:
        DescriptorLost: it is closed, or its number is another's.
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
    """Return what says that the descriptor of `what` is not what it was."""
    return DescriptorLost(
        f"the descriptor of {what} was closed by code in this process ({reason}); "
        "the next process goes on with all that it had"
    )
