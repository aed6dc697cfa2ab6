"""`kill_everywhere`: repeats a scenario, once for every place where a kill is possible.

One undisturbed run records the fault points and what the peers get. Every other run is compared
with it, byte by byte, and so is the final state.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tapd.testing.comparison import Comparison
from tapd.testing.diagnosis import explain_difference, explain_noise
from tapd.testing.failures import AuthorMistake, KillDifference
from tapd.testing.host import Host, as_application
from tapd.testing.plan import Passing, Plan, Record

Scenario = Callable[[Host], object]

_IGNORED = ("lineage",)


@dataclasses.dataclass(frozen=True, slots=True)
class KillReport:
    """The result of `kill_everywhere`.

    Attributes:
        turns: of the undisturbed run, those that did something.
        kills: runs with a kill at a fault point.
        splits: runs with a send in two pieces and a kill between them.
        duration_s: the total time.
    """

    turns: int
    kills: int
    splits: int
    duration_s: float

    def __str__(self) -> str:
        split = f" and {self.splits} between two pieces of input" if self.splits else ""
        return (
            f"killed at {self.kills} points of {self.turns} turns{split}, {self.duration_s:.2f} s"
        )


def kill_everywhere(
    application: Any,
    scenario: Scenario,
    *,
    splits: bool = False,
    ignore: Sequence[str] = (),
    allow_losses: Sequence[str] = (),
    raise_errors: bool = True,
    strict: bool = True,
) -> KillReport:
    """Check that a kill at any point of `scenario` goes unnoticed.

    The scenario runs twice undisturbed, and then once for every fault point that it passes,
    with a kill there. The peers' input and the final state must be the same as without a kill.

    Args:
        application: an application or a service, or a function that creates one.
        scenario: a function of a `Host`. It must do the same each time, and keep
            nothing of ``host.application`` between its steps.
        splits: also send all input byte by byte, and kill between the two pieces of every
            send at every byte. For protocols whose output does not depend on how input
            is split.
        ignore: patterns of paths that may differ between two runs (``*`` is any text).
        allow_losses: as for `Host`.
        raise_errors: as for `Host`.
        strict: as for `Host`.

    Raises:
        KillDifference: a kill would be noticed; the message says where, what and why.
        AuthorMistake: the scenario fails even without a kill.
    """
    __tracebackhide__ = True
    made = as_application(application)
    clock_start_s = time.time()

    def run(plan: Plan) -> Record:
        host = Host(
            made, allow_losses=allow_losses, raise_errors=raise_errors, strict=strict,
            clock_start_s=clock_start_s, plan=plan,
        )  # fmt: skip
        error = None
        with host:
            try:
                scenario(host)
                host.pump()
            except Exception as failure:
                error = failure  # the comparison shows or raises it
            return record_of([host], error)

    return explore(run, splits=splits, ignore=ignore)


def record_of(hosts: Sequence[Host], error: Exception | None = None, planned: int = 0) -> Record:
    """Return the parts of a run to compare; the next run starts afresh.

    Args:
        hosts: of the run.
        error: what it raised.
        planned: the host that the plan was for.
    """
    killed = hosts[planned : planned + 1]
    for host in hosts:
        host.put_back_globals()
    return Record(
        transcripts=[entry for host in hosts for entry in host.transcripts],
        applications=[host.last_application for host in hosts],
        passings=[passing for host in killed for passing in host.passings],
        sent=[entry for host in killed for entry in host.sent],
        evidence=[text for host in killed for text in host.evidence],
        error=error,
        has_unix=any(peer.is_unix for host in killed for peer in host.peers),
    )


def explore(
    run: Callable[[Plan], Record], *, splits: bool = False, ignore: Sequence[str] = ()
) -> KillReport:
    """Run `run` undisturbed and under every plan, and compare.

    Raises:
        KillDifference: a run differs from the undisturbed one.
        Exception: what the undisturbed run raises.
    """
    __tracebackhide__ = True
    started_s = time.monotonic()
    calm = run(Plan())
    if calm.error is not None:
        raise calm.error
    again = run(Plan())
    noise = difference_of(calm, again, ignore)
    if noise is not None:
        raise KillDifference(explain_noise(noise))
    kills = 0
    for passing in calm.passings:
        if calm.has_unix and passing.point == "turn: externalised":
            continue  # the kernel does not count a UNIX socket's input (see the promises)
        plan = Plan(kill_at=passing.number)
        _check(calm, run(plan), plan, passing, ignore)
        kills += 1
    split_runs = 0
    for plan in _split_plans(calm) if splits else ():
        _check(calm, run(plan), plan, None, ignore)
        split_runs += 1
    turns = len({passing.turn for passing in calm.passings if passing.point == "turn: run"})
    return KillReport(turns, kills, split_runs, time.monotonic() - started_s)


def _split_plans(calm: Record) -> Iterator[Plan]:
    yield Plan(every_byte=True)
    for number, sent in enumerate(calm.sent):
        for at in range(1, len(sent.data)) if sent.is_stream else ():
            yield Plan(split=number, split_at=at, kill_between=True)


def _check(
    calm: Record, killed: Record, plan: Plan, passing: Passing | None, ignore: Sequence[str]
) -> None:
    __tracebackhide__ = True
    error = killed.error
    if isinstance(error, AuthorMistake):
        error.add_note(f"tapd.testing: in the run that was {plan.describe(passing, calm)}")
        raise error
    difference = difference_of(calm, killed, ignore)
    if difference is not None:
        raise KillDifference(
            explain_difference(difference, calm, killed, plan.describe(passing, calm), plan)
        ) from error


def difference_of(calm: Record, other: Record, ignore: Sequence[str]) -> Any:
    """Return the difference of `other` from the undisturbed run, or None.

    It is a pair of transcripts (the undisturbed one first), a `Difference` of state, or the
    exception that the scenario raised.
    """
    for one, two in zip(calm.transcripts, other.transcripts, strict=False):
        if one != two and (other.error is None or not one[1].startswith(two[1])):
            return one, two
    if other.error is not None:
        return other.error
    if len(calm.transcripts) != len(other.transcripts):
        return calm.transcripts[len(other.transcripts) :] or other.transcripts
    for before, after in zip(calm.applications, other.applications, strict=False):
        difference = Comparison((*_IGNORED, *ignore), numbers=False).compare(before, after)
        if difference is not None:
            return difference
    return None
