"""``make soak``: everything of the suite that goes on for ever, in turn, by a seed.

Each round runs each of `PARTS` once, for some seconds and with a seed of its own that
follows from the round and the seed of the whole. A part that fails does not end the rest:
its command, which repeats it, is printed with the end of its output, and again at the
end, and the status is 1. All output is kept in a directory that is named first.

    python tests/soak.py --seconds 3600 --seed 1
    python tests/soak.py --list                    what is run
    python tests/soak.py --parts twin-kit,faults   some of it only
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_SLICE_S = 120
_OVERTIME_S = 900  # a part that hangs is one that failed
_LINES_SHOWN = 60

PARTS: dict[str, str] = {
    "twin-jar": "tests/twin --world jar --seed {seed} --seconds {seconds}",
    "twin-kit": "tests/twin --world kit --seed {seed} --seconds {seconds}",
    "twin-prompt": "tests/twin --world prompt --seed {seed} --seconds {seconds}",
    "twin-server": "tests/twin --world server --seed {seed} --seconds {seconds}",
    "faults": "tests/faults --seed {seed} --seconds {seconds}",
    "storm": "tests/support/storm.py --seed {seed} --seconds {seconds}",
    "storm-in-rhythm": (
        "tests/support/storm.py --seed {seed} --seconds {seconds} --every 0.7 --clients 60"
    ),
    "kill-points": "-m pytest -q -p no:cacheprovider tests/storm/test_kill_points.py",
    "commits": "-m pytest -q -p no:cacheprovider tests/net/turn/test_within_a_commit.py",
    "loads": "-m pytest -q -p no:cacheprovider tests/host/test_load_trial.py",
    "storms": (
        "-m pytest -q -p no:cacheprovider tests/storm/test_storm.py"
        " tests/host/test_datagram_storm.py"
    ),
}
"""What Python runs, from the root of the repository; add a line for what is to be soaked, too.

A part without ``{seconds}`` is run once a round, to its end.
"""


def main() -> int:
    """Run rounds until the time is over; return 1 where a part failed."""
    parser = argparse.ArgumentParser(prog="python tests/soak.py", description=__doc__)
    parser.add_argument("--seconds", type=int, default=3600, help="for how long")
    parser.add_argument("--seed", type=int, help="one is made up, and printed, without")
    parser.add_argument("--parts", help="names, with commas between; all without")
    parser.add_argument("--list", action="store_true", help="print the parts")
    args = parser.parse_args()
    if args.list:
        print(*(f"{name:12} {text}" for name, text in PARTS.items()), sep="\n")
        return 0
    names = args.parts.split(",") if args.parts else [*PARTS]
    if unknown := set(names) - set(PARTS):
        parser.error(f"no part of the soak: {', '.join(sorted(unknown))}; see --list")
    seed = random.SystemRandom().randrange(1, 10_000) if args.seed is None else args.seed
    directory = Path(tempfile.mkdtemp(prefix="tapd-soak-"))
    print(f"seed {seed}, {args.seconds} s, output in {directory}", flush=True)
    failed = soak(names, seed, time.monotonic() + args.seconds, directory)
    print("", *failed, f"failed: {len(failed)}", sep="\n")
    return bool(failed)


def soak(names: Iterable[str], seed: int, end_s: float, directory: Path) -> list[str]:
    """Run the parts in turn; return the commands of those that failed."""
    failed: list[str] = []
    names = [*names]
    for number in itertools.count():
        for place, name in enumerate(names):
            rest_s = left_s(end_s)
            if rest_s <= 0:
                return failed
            # One part of one round has no seed in common with another one's: programs
            # are numbered upwards from it.
            own_seed = (seed * 10_000 + number) * 100_000 + place
            text = PARTS[name].format(seed=own_seed, seconds=max(1, min(_SLICE_S, int(rest_s))))
            output = directory / f"{number:04}-{name}"
            started_s = time.monotonic()
            if run_part(text, output, directory):
                print(f"{name}: well, {time.monotonic() - started_s:.0f} s", flush=True)
                continue
            failed.append(f"{sys.executable} {text}")
            lines = output.read_text(errors="replace").splitlines()[-_LINES_SHOWN:]
            print("", *lines, f"FAILED: {failed[-1]}", f"all of it: {output}", "", sep="\n")
            sys.stdout.flush()
    raise AssertionError("unreachable: rounds are counted for ever")


def left_s(end_s: float) -> float:
    """Return how much of the time is left."""
    return end_s - time.monotonic()


def run_part(text: str, output: Path, directory: Path) -> bool:
    """Run one part, with its output into a file; return whether it ended well."""
    first, *rest = shlex.split(text)
    # By full paths, and elsewhere: some leave their logs where they run.
    is_module = first == "-m"
    words = [first, *rest] if is_module else [str(_ROOT / first), *rest]
    with output.open("w") as file:
        part = subprocess.Popen(
            [sys.executable, *words],
            cwd=_ROOT if is_module else directory,
            stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"TAPD_TEST_STRIDE": "1"},
        )  # fmt: skip
        try:
            return part.wait(_SLICE_S + _OVERTIME_S) == 0
        except subprocess.TimeoutExpired:
            file.write(f"\nnot done after {_SLICE_S + _OVERTIME_S} s\n")
            return False
        finally:
            if part.poll() is None:  # it hangs, or somebody pressed Ctrl-C: its servers, too
                os.killpg(part.pid, signal.SIGKILL)
                part.wait()


if __name__ == "__main__":
    raise SystemExit(main())
