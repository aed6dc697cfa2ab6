"""What the tolerant pickler costs beside plain pickle, and what one journal state costs.

Run: ``python benchmarks/bench_pickle.py [COUNT]``. Prints ratios within one run, gc
off in both, each the best of three. Goals (DESIGN, "Saving"): save at most 1.3, load
at most 1.1 of plain C pickle for a graph of a million mixed objects.
"""

from __future__ import annotations

import datetime as dt
import functools
import gc
import io
import pathlib
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

# Run as a script, this directory comes first; the classes below need an importable name.
sys.path.insert(0, str(pathlib.Path(__file__).parent))

from tapd.image.pickling.pickler import StateLoader, StatePickler, dump_graph, load_graph
from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDict, TrackedList


class Item:
    """A plain instance, as a stranger's code has them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"item {number}"
        self.tags = ["a", "b", number]


class Room(Persistent):
    """A durable object."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.title = f"room {number}"
        self.exits: dict[str, Any] = TrackedDict()


class Link:
    """One of a long chain."""

    def __init__(self, after: Any) -> None:
        self.after = after


class DurableLink(Persistent):
    """The same, durable."""

    def __init__(self, after: Any) -> None:
        self.after = after


def unlink(head: Any) -> None:
    """Take a chain apart: to free a million at once needs a C stack as deep."""
    while head is not None:
        head.after, head = None, head.after


def mixed_graph(count: int) -> list[Any]:
    """Return a graph of about `count` objects: half plain data, the rest instances of all kinds."""
    graph: list[Any] = []
    objects = 0
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    while objects < count:
        room = Room(objects)
        room.exits["north"] = graph[-1][0] if graph else None
        items = [Item(objects + index) for index in range(8)]
        data = {f"key {index}": (index, str(objects + index)) for index in range(8)}
        graph.append((room, items, data, now + dt.timedelta(seconds=objects)))
        objects += 2 + 16 + 17 + 2
    return graph


def plain_graph(count: int) -> list[Any]:
    """Return a graph of plain instances and data only."""
    return [Item(index) for index in range(count // 2)]


def best_s(function: Callable[[], Any], tries: int = 3) -> float:
    """Return the shortest of `tries` runs, in seconds, gc off."""
    gc.collect()
    gc.disable()
    try:
        times = []
        for _ in range(tries):
            begin = time.perf_counter()
            result = function()
            times.append(time.perf_counter() - begin)
            del result
        return min(times)
    finally:
        gc.enable()


def plain_dump(root: Any) -> bytes:
    """Pickle with the plain C pickler."""
    buffer = io.BytesIO()
    pickle.Pickler(buffer, 5).dump(root)
    return buffer.getvalue()


def compare(label: str, root: Any) -> None:
    """Print the ratios for one graph."""
    sys.setrecursionlimit(100_000)  # plain pickle needs it on 3.11; ours does not
    plain_data, data = plain_dump(root), dump_graph(root).data
    save = best_s(lambda: dump_graph(root)), best_s(lambda: plain_dump(root))
    load = best_s(lambda: load_graph(data)), best_s(lambda: pickle.loads(plain_data))
    print(
        f"{label}: save {save[0]:.3f} s, {save[0] / save[1]:.2f} of plain; "
        f"load {load[0]:.3f} s, {load[0] / load[1]:.2f} of plain; "
        f"{len(data) / 1e6:.1f} MB, {len(data) / len(plain_data):.2f} of plain"
    )


_STATES = 20_000


def _repeat(function: Callable[[Any], Any], argument: Any) -> None:
    for _ in range(_STATES):
        function(argument)


def states() -> None:
    """Print the cost of single states."""
    pickler = StatePickler(lambda obj: int(obj._p_oid))
    rooms = [Room(index) for index in range(3)]
    for number, room in enumerate(rooms):
        room._p_oid = number
    small = {"number": 7, "title": "a title", "data": b"bytes", "open": True}
    moment = {**small, "at": dt.datetime(2026, 1, 1)}  # noqa: DTZ001 - any will do
    loader = StateLoader(rooms.__getitem__)
    for label, state in (
        ("4 plain values", small),
        ("and 3 references", small | dict(zip("abc", rooms, strict=True))),
        ("and a datetime", moment),
    ):
        seconds = best_s(functools.partial(_repeat, pickler.dump_state, state))
        data = pickler.dump_state(state).data
        back = best_s(functools.partial(_repeat, loader.load_state, data))
        print(
            f"state of {label}: {seconds / _STATES * 1e6:.2f} us, {len(data)} bytes; "
            f"load {back / _STATES * 1e6:.2f} us"
        )


def main() -> None:
    """Run all."""
    if Item.__module__ == "__main__":
        import bench_pickle  # noqa: PLC0415 - the same file, under a name that lasts

        bench_pickle.main()
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    compare(f"{count} mixed objects", mixed_graph(count))
    compare(f"{count} plain instances and lists", plain_graph(count))
    compare(f"{count} tracked and durable", [TrackedList([Room(i)]) for i in range(count // 3)])
    states()


if __name__ == "__main__":
    main()
