"""What the kit finds, as failures of a test, and how it is shown.

Imports nothing of tapd. The classes derive from AssertionError and not from
`TapdError`, since it is a test runner that meets them: pytest, unittest and
hypothesis count these as a test's failure and anything else as an error in it.
"""

from __future__ import annotations

import difflib


class AuthorMistake(AssertionError):
    """Something in the application that would break a promise of tapd's."""


class LostState(AuthorMistake):
    """Something in the state can't be saved, or would not be what it was."""


class KillDifference(AuthorMistake):
    """After a kill the server did something else than it would have done without."""


class Unexpected(AssertionError):
    """A peer did not get what the test expects."""


class Killed(BaseException):
    """The process ends here, by the test's wish. Not an Exception: a handler can't catch it."""


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
    """Return where two byte strings part; the shorter one's length where one begins the other."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # halving: transcripts of megabytes are compared often
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def show_two(one_title: str, one: bytes, other_title: str, other: bytes) -> str:
    """Return two byte strings, one over the other, with a mark where they part."""
    at = first_difference_at(one, other)
    start = max(0, at - 30)
    if start and b"\n" in one[start:at]:
        start += one[start:at].rindex(b"\n") + 1 if at - start > 50 else 0
    width = max(len(one_title), len(other_title))
    before = len(repr(one[start:at])) - 1  # the quote and what comes before, without the last quote
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
    """Return what a failed expectation says."""
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
