"""``python tests/faults``: the scenario with a fault at each system call, or at some.

python tests/faults --repeat write:12:1:KILL:server    one run, by what was printed of it
python tests/faults --errors --calls sendto,accept4    each call, number and error
python tests/faults --seconds 600 --seed 7             at random points, kills and errors
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import itertools
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path += [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]

from tests.faults.calls import ERRORS, KILLED_AT, STARTING
from tests.faults.rig import (
    KILL,
    PROCESSES,
    SERVER,
    Counts,
    Injection,
    Outcome,
    count_calls,
    run,
    why_not,
)
from tests.faults.verdict import find_faults


def main() -> int:
    """Do what the command line says; return 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__)
    parser.add_argument("--repeat", help="one injection: CALL:NUMBER:LIFE:WHAT:PROCESS")
    parser.add_argument("--errors", action="store_true", help="errors; not kills")
    parser.add_argument("--calls", help="system calls, with commas between")
    parser.add_argument("--lives", default="1,2,3", help="of the server, with commas between")
    parser.add_argument("--process", choices=PROCESSES, default=SERVER, help="what is hit")
    parser.add_argument("--stride", type=int, default=1, help="each so manieth number only")
    parser.add_argument("--seconds", type=float, help="random points for so long")
    parser.add_argument("--seed", type=int, default=1, help="of the random points")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--log", action="store_true", help="show the log of what did not hold")
    args = parser.parse_args()
    if why_not():
        print(why_not(), file=sys.stderr)
        return 1
    if args.repeat:
        injections = iter([Injection.parse(args.repeat)])
    elif args.seconds is not None:
        injections = random_injections(args.seed, args.seconds)
    else:
        injections = all_injections(args, count_calls(args.process))
    return run_all(injections, args)


def all_injections(args: argparse.Namespace, counts: Counts) -> Iterator[Injection]:
    """Yield an injection for each number of each call."""
    calls = args.calls.split(",") if args.calls else [*(ERRORS if args.errors else KILLED_AT)]
    lives = [int(life) for life in args.lives.split(",")]
    for call, life in itertools.product(calls, lives):
        for what in ERRORS[call] if args.errors else [KILL]:
            # A run makes some calls more than another one: see what the last ones say.
            for number in range(1, counts.get((life, call), 0) + 1, args.stride):
                yield Injection(call, number, life, what, args.process)


def random_injections(seed: int, seconds: float) -> Iterator[Injection]:
    """Yield injections at random points for some time: each call as often as another."""
    chance = random.Random(seed)
    counts = {process: count_calls(process) for process in PROCESSES}
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        process = chance.choice([SERVER, *PROCESSES])
        what = KILL
        if chance.random() < 0.5:
            call = chance.choice([*KILLED_AT, *KILLED_AT, *STARTING])
        else:
            call = chance.choice([*ERRORS])
            what = chance.choice(ERRORS[call])
        lives = [life for life, name in counts[process] if name == call]
        if lives:
            life = chance.choice(lives)
            number = chance.randint(1, counts[process][life, call])
            yield Injection(call, number, life, what, process)


@dataclasses.dataclass(slots=True)
class Tally:
    """What was run, by call and what happened to it.

    Attributes:
        runs: how many.
        hits: of those, in how many the call came to the injection's number.
        restarts: in how many of those the server was started once more for it.
        failures: in how many something did not hold.
    """

    runs: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    hits: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    restarts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failures: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def __str__(self) -> str:
        columns = (self.runs, self.hits, self.restarts, self.failures)
        names = ("runs", "hit", "restarted", "did not hold")
        rows = [(name, [column[name] for column in columns]) for name in sorted(self.runs)] + [
            ("all", [column.total() for column in columns])
        ]
        return "\n".join(
            f"{row:28}" + "".join(f"{n:6} {name}" for n, name in zip(counts, names, strict=True))
            for row, counts in rows
        )


def run_all(injections: Iterator[Injection], args: argparse.Namespace) -> int:
    """Run each, some at once; print what does not hold, with the command that repeats it."""
    without = run()
    if faults := find_faults(without, without, None):
        print(without.log, *faults, sep="\n")
        return 1
    tally = Tally()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for chunk in iter(lambda: [*itertools.islice(injections, args.jobs * 4)], []):
            for injection, outcome in zip(chunk, pool.map(run, chunk), strict=True):
                name = f"{injection.process} {injection.call} {injection.what}"
                tally.runs[name] += 1
                tally.hits[name] += outcome.was_hit
                tally.restarts[name] += outcome.lives > without.lives
                if faults := find_faults(outcome, without, injection):
                    tally.failures[name] += 1
                    show(injection, faults, outcome, with_log=args.log)
    print(tally)
    return bool(tally.failures)


def show(injection: Injection, faults: list[str], outcome: Outcome, *, with_log: bool) -> None:
    """Print what did not hold."""
    print(f"python tests/faults --repeat {injection}", *faults[:4], sep="\n    ", flush=True)
    if with_log:
        print(outcome.log)


if __name__ == "__main__":
    raise SystemExit(main())
