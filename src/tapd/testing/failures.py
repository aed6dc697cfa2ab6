"""Test failures that the kit raises, and how they show data.

The classes derive from AssertionError, not from `TapdError`: pytest, unittest and hypothesis
count these as failures of a test, and anything else as an error.
"""

from __future__ import annotations

import difflib


class AuthorMistake(AssertionError):
    """Something in the application would break a promise of tapd."""


class LostState(AuthorMistake):
    """A part of the state can't be saved, or would change."""


class KillDifference(AuthorMistake):
    """The server behaved differently after a kill."""


class Unexpected(AssertionError):
    """A peer did not receive what the test expects."""


class Killed(BaseException):
    """The process is killed by the test. Not an Exception, so that no handler catches it."""


def show(value: object, width: int = 160) -> str:
    """Return `value` for people, shortened in the middle."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"<a {type(value).__qualname__} whose repr() raises {type(error).__name__}>"
    if len(text) <= width:
        return text
    half = (width - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def first_difference_at(one: bytes, other: bytes) -> int:
    """Return the index of the first difference; the shorter length if one is a prefix."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # bisection: transcripts of megabytes are compared often
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def show_two(one_title: str, one: bytes, other_title: str, other: bytes) -> str:
    """Return two byte strings, one above the other, with a mark at the first difference."""
    at = first_difference_at(one, other)
    start = max(0, at - 30)
    if start and b"\n" in one[start:at]:
        start += one[start:at].rindex(b"\n") + 1 if at - start > 50 else 0
    width = max(len(one_title), len(other_title))
    before = len(repr(one[start:at])) - 1  # with the opening quote, without the closing one
    dots = "..." if start else ""
    lines = [
        f"  {title:<{width}}  {dots}{part[start : at + 60]!r}{'...' if len(part) > at + 60 else ''}"
        for title, part in ((one_title, one), (other_title, other))
    ]
    mark = " " * (2 + width + 2 + len(dots) + before)
    ended = " (one ends here)" if at in (len(one), len(other)) else ""
    lines.append(f"{mark}^ they part at byte {at}{ended}")
    return "\n".join(lines)


def show_expectation(who: str, expected: bytes, got: bytes, *, ended: bool) -> str:
    """Return the message for a failed expectation."""
    what = "and then the server closed the connection" if ended else "and no more comes"
    head = (
        f"{who} expected {len(expected)} bytes, got {len(got)} ({what})"
        if len(got) < len(expected)
        else f"{who} got something else than it expected"
    )
    text = f"{head}:\n{show_two('expected', expected, 'got', got)}"
    if expected.count(b"\n") > 2 and len(expected) < 20_000:
        rows = difflib.ndiff(_lines(expected), _lines(got))
        text += "\n\n  line by line (- expected, + got):\n" + "\n".join(
            f"    {row}" for row in rows
        )
    return text


def _lines(data: bytes) -> list[str]:
    return [
        repr(line.decode("utf-8", "backslashreplace"))[1:-1]
        for line in data.splitlines(keepends=True)
    ]
