"""``python tests/twin``: run many programs, or one that a file holds, and shrink what differs."""

from __future__ import annotations

import argparse
import collections
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from twin.kit import UnderKit  # the path has to be set first
from twin.maker import make_program
from twin.program import Program, parse_program, render_program
from twin.shrink import shrink
from twin.under import UnderJar, UnderPrompt, UnderTapd, differ
from twin.worlds import Difference


WORLDS: dict[str, type[UnderTapd]] = {
    "jar": UnderJar, "prompt": UnderPrompt, "kit": UnderKit,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/twin", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="a program to run")
    parser.add_argument("--seed", type=int, default=1, help="of the first program")
    parser.add_argument("--count", type=int, default=1, help="how many programs")
    parser.add_argument("--seconds", type=float, help="run as many as there is time for")
    parser.add_argument("--shrink", type=int, default=5, help="how many failures to shrink")
    parser.add_argument("--into", type=Path, help="a directory for what was shrunk")
    parser.add_argument("--world", choices=WORLDS, default="jar", help="what runs it")
    args = parser.parse_args()
    kind = WORLDS[args.world]
    if args.file is not None:
        program = parse_program(args.file.read_text())
        difference = differ(program, kind=kind)
        print(difference or "no difference")
        return difference is not None
    return run_many(args, kind)


def run_many(args: argparse.Namespace, kind: type[UnderTapd]) -> int:
    begin_s = time.monotonic()
    kinds: collections.Counter[str] = collections.Counter()
    failed: list[int] = []
    seed = args.seed
    while (
        time.monotonic() - begin_s < args.seconds
        if args.seconds
        else seed < args.seed + args.count
    ):
        program, expected = make_program(seed)
        difference = differ(program, expected, kind)
        if difference is not None:
            kinds[difference.kind + (" (named)" if difference.named else "")] += 1
            failed.append(seed)
            if len(failed) <= args.shrink:
                show_failure(seed, program, difference, args.into, kind)
        seed += 1
    took_s = time.monotonic() - begin_s
    print(f"{seed - args.seed} programs in {took_s:.0f} s, {len(failed)} differ")
    for kind, count in kinds.most_common():
        print(f"  {count:5}  {kind}")
    print("seeds:", *failed[:40])
    return bool(failed)


def show_failure(
    seed: int, program: Program, difference: Difference, into: Path | None, world: type[UnderTapd]
) -> None:
    """Shrink it, and show what is left."""

    def fails(candidate: Program) -> bool:
        found = differ(candidate, kind=world)
        return found is not None and found.kind == difference.kind

    small = shrink(program, fails)
    found = differ(small, kind=world)
    text = render_program(small, f"seed {seed}\n{found}")
    print(text, "\n", "-" * 70, sep="", flush=True)
    if into is not None:
        (into / f"seed-{seed}.py").write_text(text)


if __name__ == "__main__":
    raise SystemExit(main())
