"""``python tests/twin``: run many programs, or one that a file holds, and shrink what differs."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path += [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]

from tests.twin.program import parse_program
from tests.twin.runs import ALL_WORLDS, Failure, Tally, run_seeds, shrunk
from tests.twin.under import UnderTapd, differ


def main() -> int:
    """Do what the command line says; return 1 where something differs."""
    parser = argparse.ArgumentParser(prog="python tests/twin", description=__doc__)
    parser.add_argument("file", nargs="*", type=Path, help="programs to run")
    parser.add_argument("--seed", type=int, default=1, help="of the first program")
    parser.add_argument("--count", type=int, default=1, help="how many programs")
    parser.add_argument("--seconds", type=float, help="run as many as there is time for")
    parser.add_argument("--shrink", type=int, default=5, help="how many failures to shrink")
    parser.add_argument("--into", type=Path, help="a directory for what was shrunk")
    parser.add_argument("--world", choices=ALL_WORLDS, default="jar", help="what runs it")
    args = parser.parse_args()
    world = ALL_WORLDS[args.world]
    if args.file:
        found = [run_file(path, world) for path in args.file]
        return any(found)
    tally = Tally()
    failures: list[Failure] = []
    for failure in run_seeds(seeds_of(args), world, tally):
        failures.append(failure)
        if len(failures) <= args.shrink:
            show(shrunk(failure, world), failure.seed, args.into)
    print(f"{args.world}: {tally}")
    for kind, count in tally.kinds.most_common():
        print(f"  {count:5}  {kind}")
    if failures:
        print("seeds:", *(failure.seed for failure in failures[:40]))
        print(f"python tests/twin --world {args.world} --seed {failures[0].seed}")
    return bool(failures)


def seeds_of(args: argparse.Namespace) -> Iterator[int]:
    """Yield the seeds that the command line asks for."""
    if args.seconds is None:
        yield from range(args.seed, args.seed + args.count)
        return
    end_s = time.monotonic() + args.seconds
    for seed in itertools.count(args.seed):
        if time.monotonic() > end_s:
            return
        yield seed


def run_file(path: Path, world: type[UnderTapd]) -> bool:
    """Run one program; return whether it differs."""
    difference = differ(parse_program(path.read_text()), kind=world)
    print(f"{path}: {difference or 'no difference'}")
    return difference is not None


def show(text: str, seed: int, into: Path | None) -> None:
    """Print a program, and keep it where that is wanted."""
    print(text, "\n", "-" * 70, sep="", flush=True)
    if into is not None:
        (into / f"seed-{seed}.py").write_text(text)


if __name__ == "__main__":
    raise SystemExit(main())
