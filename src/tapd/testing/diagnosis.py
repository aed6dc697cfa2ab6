"""Guesses the mistake behind a difference after a kill, and explains it to the author.

The few typical mistakes leave recognizable traces: output that is sent twice, one timer too
many, data in a volatile attribute or in a global variable of a module.
"""

from __future__ import annotations

from typing import Any

from tapd.testing.comparison import Difference
from tapd.testing.failures import first_difference_at, show, show_two
from tapd.testing.plan import Plan, Record

_PIECES = (
    "data_received takes a piece of input for a whole message: keep what is not complete in an "
    "attribute, and put it before what comes next"
)
_ELSEWHERE = (
    "something that the server needs is not in its state (it is in a closure, a default argument, "
    "a cache, a file or a thread, none of which a kill leaves), or start() or connection_resumed "
    "sets it anew"
)
_KEPT = (
    "the scenario kept something of host.application or of a service from before the kill: these "
    "are other objects then; ask the host for them each time"
)
_TWICE = (
    "came twice: connection_resumed (or a service's start) writes it again. What a committed turn "
    "wrote tapd sends by itself; connection_resumed writes only what is new"
)
_TOLD = (
    "is written by connection_resumed or a service's start: the peer knows nothing of a kill, and "
    "should not be told"
)
_TIMER_TWICE = (
    "a timer is set again at each start: timers outlive a kill, while connection_resumed and a "
    "service's start() run in every new process; set it once (in connection_made, say), or look "
    "first whether there is one"
)
_TIMER_MOVED = "a timer is due at another time: reckon it from application.runtime.now_s()"


def explain_difference(difference: Any, calm: Record, killed: Record, what: str, plan: Plan) -> str:
    """Return the message for a run that differs from the undisturbed one."""
    parts = [f"A run that was {what} went on differently than without.", _show(difference)]
    causes = _causes(difference, calm, killed, plan)
    if causes:
        parts.append("Likely:\n" + "\n".join(f"  - {cause}" for cause in causes))
    parts.append(f"To see it again: Host(application, plan={_show_plan(plan)})")
    return "\n\n".join(parts)


def explain_noise(difference: Any) -> str:
    """Return the message for two undisturbed runs that differ."""
    text = (
        "Two runs without any kill differ, so a kill can't be told from chance.\n\n"
        f"{_show(difference, ('first run', 'second run'))}\n\n"
        "Likely:\n"
        "  - it depends on the clock: time.time() differs each time; ask "
        "application.runtime.now_s(), which tapd.testing holds still (host.clock.advance)\n"
        "  - it depends on id(), on random numbers, uuid4() or a process id: none of them is the "
        "same in the next process; number things with application.next_key()"
    )
    if isinstance(difference, Difference):
        text += f"\n  - it may differ, and nobody minds: ignore=[{difference.path!r}]"
    return text


def _show_plan(plan: Plan) -> str:
    set_ = {
        name: getattr(plan, name)
        for name in ("kill_at", "split", "split_at", "kill_between", "every_byte")
        if getattr(plan, name) != getattr(Plan(), name)
    }
    return f"Plan({', '.join(f'{name}={value!r}' for name, value in set_.items())})"


def _show(difference: Any, titles: tuple[str, str] = ("undisturbed", "killed")) -> str:
    if isinstance(difference, Difference):
        return _show_state(difference, titles)
    if isinstance(difference, Exception):
        return f"The scenario failed:\n  {type(difference).__name__}: {difference}"
    if isinstance(difference, list):
        return f"There are other peers: {show([name for name, _data, _ended in difference])}"
    (name, one, one_ended), (other_name, other, other_ended) = difference
    if name != other_name:
        return f"There are other peers: {name} in the {titles[0]} run is {other_name} in the other."
    if one == other:
        ends = ("was closed by the server", "was left open")
        return (
            f"The connection of {name} {ends[not one_ended]} in the {titles[0]} run and "
            f"{ends[not other_ended]} in the other."
        )
    return f"{name} got something else:\n{show_two(titles[0], one, titles[1], other)}"


def _show_state(difference: Difference, titles: tuple[str, str]) -> str:
    path = difference.path or "the application"
    if difference.other_path is not None:
        one, two = titles if difference.is_one else titles[::-1]
        return (
            f"{difference.other_path} and {path} are one {difference.type_name} in the {one} run "
            f"and two in the {two} run."
        )
    width = max(map(len, titles))
    return (
        f"{path} is not the same at the end:\n"
        f"  {titles[0]:<{width}}  {difference.one}\n"
        f"  {titles[1]:<{width}}  {difference.other}"
    )


def _causes(difference: Any, calm: Record, killed: Record, plan: Plan) -> list[str]:
    if plan.every_byte:
        return [_PIECES]
    causes = []
    if isinstance(difference, Difference):
        causes += _causes_of_state(difference)
    elif isinstance(difference, tuple):
        causes += _causes_of_transcript(difference[0][1], difference[1][1])
    elif isinstance(difference, Exception):
        causes += _causes_of_failure(calm, killed)
    return [*causes, *killed.evidence] or [_ELSEWHERE]


def _causes_of_failure(calm: Record, killed: Record) -> list[str]:
    for one, other in zip(calm.transcripts, killed.transcripts, strict=False):
        if not one[1].startswith(other[1]):
            return _causes_of_transcript(one[1], other[1])
    return [] if killed.evidence else [_KEPT]


def _causes_of_transcript(calm: bytes, killed: bytes) -> list[str]:
    at = first_difference_at(calm, killed)
    extra = len(killed) - len(calm)
    if extra <= 0:
        return []
    # The repeated text may begin earlier: b"ab" and b"abab" differ only at the end.
    for start in range(max(0, at - extra), at + 1):
        if killed[:start] + killed[start + extra :] == calm:
            again = killed[start : start + extra]
            return [f"{show(again, 60)} {_TWICE if again in calm else _TOLD}"]
    return []


def _causes_of_state(difference: Difference) -> list[str]:
    if difference.path.startswith("delayeds") or difference.type_name == "Timer":
        return [_TIMER_TWICE if "missing" in (difference.one, difference.other) else _TIMER_MOVED]
    return []
