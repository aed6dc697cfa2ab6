"""IRC: tapd beside ngircd and InspIRCd, in one run, in turn.

Messages delivered a second in one channel of 500, one of 100 and 100 of 20, the
time that 1,000 clients take to register and join, and the memory that an idle
one costs. tapd runs under the embedded manager, durable, and remembers what is
said; the others remember nothing. ``python benchmarks/bench_irc.py [--seconds S]
[--rounds N] [--only NAME ...]``; a server that isn't installed is left out, loudly
(apt install ngircd inspircd).

All share a machine with the load, so besides deliveries a second there is what a
delivery costs the server's own processor time, which others disturb less. A
delivery is one message that arrived at one client. The figures are medians.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "support")]

from bench_connections import private_kib  # noqa: E402
from by_hand import free_port, serving  # noqa: E402
from irc_load import Load, measure_ceiling  # noqa: E402
from irc_peers import FILES_MAX, PEERS, find_program, serving_peer  # noqa: E402

from tapd.model.application import Application  # noqa: E402
from tapd.services.irc import IrcNetwork  # noqa: E402

SHAPES = ((1, 500), (1, 100), (100, 20))
WINDOWS = (1, 20)
JOINS = ((50, 20), (1, 1000))
AT_ONCE = {"tapd": 1000, "inspircd": 1000, "ngircd": 8}
"""Clients that register at the same time. InspIRCd completes registrations once a second;
ngircd's backlog is 10 connections: the kernel has a client beyond it wait for a second."""
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")

Figures = dict[str, float]


def run_load(pipe: Connection, port: int) -> None:
    """Do what the pipe says, in a process of its own, until it says nothing more."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
    load = Load(port)
    actions: dict[str, Callable[..., Any]] = {
        "join": load.join, "settle": load.settle, "talk": load.talk, "close": load.close,
        "cpu": lambda: cpu_s(os.getpid()),
    }  # fmt: skip
    while message := pipe.recv():
        name, *arguments = message
        pipe.send(actions[name](*arguments))


class RemoteLoad:
    """A `Load` in a process of its own."""

    def __init__(self, port: int) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=run_load, args=(theirs, port)
        )
        self._process.start()
        theirs.close()

    def __call__(self, name: str, *arguments: Any) -> Any:
        """Have it do something, and return what it returns."""
        self._pipe.send((name, *arguments))
        return self._pipe.recv()

    def end(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join()


def cpu_s(pid: int) -> float:
    """Return the processor time that a process and its ended children have used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_A_SECOND


@contextlib.contextmanager
def serving_tapd(directory: pathlib.Path, port: int) -> Iterator[int]:
    """Run tapd as a person would by hand; yields the server's process id."""
    application = Application("irc")
    network = IrcNetwork("Bench", "irc.bench.internal", 0.0)
    network.limits.lines_per_s = 0  # talkers talk as fast as they can
    network.limits.half_registered = 0  # and 1,000 clients come at once
    network.ping_s = 3600  # and answer no PING while others have their turn
    application.listen(f"127.0.0.1:{port}", network)
    with serving(directory, application) as server:
        yield server.child() or 0


@contextlib.contextmanager
def started(name: str) -> Iterator[tuple[int, int]]:
    """Run a server for the length of the block; yields its port and process id."""
    port = free_port()
    with tempfile.TemporaryDirectory() as text:
        directory = pathlib.Path(text)
        server = (
            serving_tapd(directory, port) if name == "tapd" else serving_peer(name, directory, port)
        )
        with server as pid:
            yield port, pid


def measure_joining(name: str) -> Figures:
    """Have 1,000 clients register and join a server just started; return the figures."""
    figures = {}
    for channels, members in JOINS:
        with started(name) as (port, pid):
            load = RemoteLoad(port)
            load("join", "warm", 1, 2, 1)  # what is imported and filled once is no client's
            load("settle")
            before_kib, before_s = private_kib(pid), cpu_s(pid)
            what = f"{channels} x {members}"
            figures[f"join {what}: s"] = load("join", "u", channels, members, AT_ONCE[name])
            load("settle")
            figures[f"join {what}: cpu s"] = cpu_s(pid) - before_s
            figures[f"join {what}: KiB each"] = (private_kib(pid) - before_kib) / 1000
            load.end()
    return figures


@dataclasses.dataclass(slots=True)
class Contender:
    """A server that runs, and a load for each shape, whose clients have joined."""

    pid: int
    loads: dict[tuple[int, int], RemoteLoad]


@contextlib.contextmanager
def contending(name: str) -> Iterator[Contender]:
    """Run a server, with all clients of all shapes, for the length of the block."""
    with started(name) as (port, pid):
        loads = {}
        for channels, members in SHAPES:
            load = loads[channels, members] = RemoteLoad(port)
            load("join", f"c{channels}x{members}n", channels, members, AT_ONCE[name])
            load("settle")
        yield Contender(pid, loads)
        for load in loads.values():
            load.end()


def measure_talking(contender: Contender, shape: tuple[int, int], seconds: float) -> Figures:
    """Have clients talk in channels of one shape; return the figures."""
    figures = {}
    load = contender.loads[shape]
    for window in WINDOWS:
        load("talk", 0.2, window)
        before_s, load_before_s = cpu_s(contender.pid), load("cpu")
        delivered, took_s = load("talk", seconds, window)
        what = f"{shape[0]} x {shape[1]}, {window} in flight"
        figures[f"{what}: /s"] = delivered / took_s
        figures[f"{what}: cpu us each"] = (cpu_s(contender.pid) - before_s) / delivered * 1e6
        figures[f"{what}: load"] = (load("cpu") - load_before_s) / took_s
    return figures


def bench(names: list[str], seconds: float, rounds: int) -> None:
    """Print the table."""
    values: dict[str, dict[str, list[float]]] = {
        name: collections.defaultdict(list) for name in names
    }

    def note(name: str, figures: Figures) -> None:
        for what, value in figures.items():
            values[name][what].append(value)

    for _ in range(rounds):
        for name in names:
            note(name, measure_joining(name))
    with contextlib.ExitStack() as stack:
        contenders = {name: stack.enter_context(contending(name)) for name in names}
        for _ in range(rounds):
            for shape in SHAPES:
                for name in names:
                    note(name, measure_talking(contenders[name], shape, seconds))
    print_table(names, values)
    for window in WINDOWS:
        ceiling = measure_ceiling(500, window)
        print(f"the load alone counts {ceiling:,.0f} lines/s ({window} in flight, 500 clients)")


def print_table(names: list[str], values: dict[str, dict[str, list[float]]]) -> None:
    """Print the medians, and tapd's in proportion to each other server's."""
    others = [name for name in names if name != "tapd" and "tapd" in names]
    print(
        f"{'':32}", *(f"{name:>10}" for name in names), *(f"{f'to {name}':>12}" for name in others)
    )
    for what in values[names[0]]:
        row = {name: statistics.median(values[name][what]) for name in names if values[name][what]}
        cells = []
        for name in names:
            value = row.get(name)
            digits = 0 if value is not None and value > 1000 else 2
            cells.append(f"{value:10,.{digits}f}" if value is not None else f"{'-':>10}")
        if not what.endswith("load"):
            cells += [
                f"{row['tapd'] / row[name]:12.2f}" if row.get(name) else "" for name in others
            ]
        print(f"{what:32}", *cells)
    print("load: the part of a processor that the load itself used")


def main() -> None:
    """Bench what is installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of talking, each time")
    parser.add_argument("--rounds", type=int, default=3, help="of all servers in turn")
    parser.add_argument("--only", nargs="*", default=["tapd", *PEERS], help="which servers")
    arguments = parser.parse_args()
    names = [name for name in arguments.only if name == "tapd" or find_program(name)]
    for name in arguments.only:
        if name not in names:
            print(f"{name} is not installed: left out", file=sys.stderr)
    bench(names, arguments.seconds, arguments.rounds)


if __name__ == "__main__":
    main()
