"""What has to hold of a run with a fault in it, against one without."""

from __future__ import annotations

import ast
import re

from tests.faults.rig import KILL, MANAGER, Injection, Outcome

_DAMAGE = re.compile(r"^.*(?:damaged|torn|set aside|cut off|skipped|not applied).*$", re.MULTILINE)
_COUNT = re.compile(r"(\d+) ")
_BROKEN = re.compile(r"^(?:Traceback .*|.*(?: bug |please report).*)$", re.MULTILINE)


def find_faults(outcome: Outcome, without: Outcome, injection: Injection | None) -> list[str]:
    """Return what differs from the run `without` a fault; nothing where all is well.

    Every client got the same bytes, the state was the same at each instant, before and
    after a kill and at the end, and nothing was called damaged. Where the fault fell into
    the last stop, the manager may say so by its status: the next start has the state.

    With the manager ends what keeps the connections, so there no answered line is lost.
    """
    is_of_manager = injection is not None and injection.process == MANAGER
    # Killed at its last stop, it leaves a server that clients may still say their end to.
    if is_of_manager and (outcome.failure or outcome.status != 0):
        return _find_lost(outcome, without)
    found = [outcome.failure] if outcome.failure else []
    for name, expected in without.transcripts.items():
        got = outcome.transcripts.get(name, [])
        if got != expected:
            found.append(f"{name} got {_difference(got, expected)}")
    states, expected = [*outcome.states, outcome.loaded], [*without.states, without.loaded]
    if states != expected:
        found.append(f"the states were {_difference(states, expected)}")
    found += [f"logged: {line}" for line in _DAMAGE.findall(outcome.log)]
    if injection is None or injection.what == KILL:
        found += [f"logged: {line}" for line in _BROKEN.findall(outcome.log)]
    if injection is None and outcome.status != 0:
        found.append(f"the manager ended with status {outcome.status}")
    return found


def _find_lost(outcome: Outcome, without: Outcome) -> list[str]:
    """Return what is missing from the state that was loaded in the end."""
    if not outcome.loaded:
        return [f"nothing could be loaded: {outcome.failure}"]
    found = [f"logged: {line}" for line in _DAMAGE.findall(outcome.log)]
    count, said = ast.literal_eval(outcome.loaded)
    _all, all_said = ast.literal_eval(without.loaded)
    answered = max(
        (int(match[1]) for lines in outcome.transcripts.values() for line in lines
         if (match := _COUNT.match(line))),
        default=0,
    )  # fmt: skip
    if count < answered:
        found.append(f"{answered} answers were given, and the state knows of {count}")
    whole = dict(all_said)
    found += [
        f"{name} is known to have said {_difference([*lines], [*whole.get(name, ())])}"
        for name, lines in said
        if lines != whole.get(name, ())[: len(lines)]
    ]
    return found


def _difference(got: list[str], expected: list[str]) -> str:
    """Say where two lists part."""
    for index, (one, other) in enumerate(zip(got, expected, strict=False)):
        if one != other:
            return f"{one!r}, not {other!r}, at {index}"
    return f"{len(got)} entries, not {len(expected)}, the last {got[-1:]}"
