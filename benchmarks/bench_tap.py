"""Saving, loading, checkpointing and looking at a whole TAP, beside plain pickle.

Run: ``python benchmarks/bench_tap.py [COUNT]``. Goals (issue 4), for an application of
a million mixed objects, as ratios to plain C pickle in the same run, gc off in both:
save with digest and signature at most 1.3, verified load at most 1.1; a checkpoint's
pause at most 25 ms per GB of memory; the p99 of requests served during a checkpoint
at most twice the usual; the first screen of ``tapctl show`` of a TAP of 100 MB in 2 s.
Rounds alternate and medians are told: machines are noisy.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import pathlib
import pickle
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

# The graphs' classes, and what the tests share, by importable names.
sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(1, str(pathlib.Path(__file__).parents[1] / "tests" / "support"))

import bench_pickle
import by_hand
import storm_service

from tapd.host.saving.checkpoint import Checkpointer
from tapd.image.pickling.pickler import dump_graph, load_graph
from tapd.image.tracking.jar import Jar
from tapd.model.application import Application
from tapd.model.durable.tracked import TrackedList
from tapd.model.service import Service
from tapd.store.generations import Store
from tapd.store.key import Key, load_key, render_new_key
from tapd.store.snapshot import load_application, take_snapshot
from tapd.store.tapfile import parse_tap

ROUNDS = 5
_HERE = pathlib.Path(__file__).parent


def application_of(root: Any, name: str = "bench") -> Application:
    """Return an application that holds `root`, numbered as a running one is."""
    application = Application(name)
    service = application.add_service(Service(), "data")
    service.graph = root  # type: ignore[attr-defined]  # data of its own, as services have
    jar = Jar()
    jar.adopt(application)
    application._v_jar = jar
    return application


def seconds(function: Callable[[], Any]) -> float:
    """Return how long one call takes, gc off; what it returns is freed outside."""
    gc.collect()
    gc.disable()
    begin = time.perf_counter()
    result = function()
    took = time.perf_counter() - begin
    gc.enable()
    del result
    return took


def alternate(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float, float]:
    """Return the medians of both, in seconds, and of the ratios of neighbouring rounds."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS)]
    one, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    return one, other, statistics.median(a / b for a, b in pairs)


def save_and_load(count: int, key: Key) -> None:
    """Print the ratios of saving and of verified loading."""
    application = application_of(bench_pickle.mixed_graph(count))
    snapshot = take_snapshot(application, 1, key)
    data, plain = b"".join(snapshot.chunks), bench_pickle.plain_dump(application)

    def verified_load() -> Any:
        return load_application(parse_tap(data, key, "bench.tap")[0], pathlib.Path("bench.tap"))

    ours, theirs, ratio = alternate(
        lambda: b"".join(take_snapshot(application, 1, key).chunks),
        lambda: bench_pickle.plain_dump(application),
    )
    print(f"save {count} objects, signed: {ours:.3f} s, plain {theirs:.3f} s: {ratio:.2f} (1.3)")
    ours, theirs, ratio = alternate(verified_load, lambda: pickle.loads(plain))
    print(f"load, verified: {ours:.3f} s, plain {theirs:.3f} s: {ratio:.2f} (1.1)")
    print(f"size {len(data) / 1e6:.1f} MB, plain {len(plain) / 1e6:.1f} MB")


def chains(count: int) -> None:
    """Print what chains cost that plain pickle can't save at all."""
    for cls in (bench_pickle.Link, bench_pickle.DurableLink):
        head: Any = None
        for _ in range(count):
            head = cls(head)
        gc.disable()
        begin = time.perf_counter()
        data = dump_graph(head).data
        saved = time.perf_counter()
        loaded = load_graph(data)
        end = time.perf_counter()
        gc.enable()
        print(
            f"chain of {count} {cls.__name__}: save {saved - begin:.2f}, load {end - saved:.2f} s"
        )
        bench_pickle.unlink(head)
        bench_pickle.unlink(loaded)


def resident_gb() -> float:
    """Return this process's resident memory, in GB."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def pause(count: int, key: Key, directory: pathlib.Path) -> None:
    """Print how long the fork of a checkpoint stops the process."""
    application = application_of(bench_pickle.mixed_graph(count))
    store = Store(directory / "bench.tap", key)
    store.create(application)
    gc.collect()
    gc.freeze()
    with store.lock():
        checkpointer = Checkpointer(keep_fds=store.lock_fds)
        forks = []
        for _ in range(ROUNDS):
            generation = store.next_generation()
            save = functools.partial(store.save, application, generation, clean=False)
            asyncio.run(checkpointer.checkpoint(save))
            forks.append(checkpointer.fork_s)
    gc.unfreeze()
    size = resident_gb()
    fork_ms = statistics.median(forks) * 1e3
    print(f"fork with {size:.2f} GB: {fork_ms:.1f} ms, {fork_ms / size:.1f} ms per GB (25)")


def latencies_us(client: socket.socket, until: Callable[[], bool]) -> list[float]:
    times: list[float] = []
    while len(times) % 50 or not until():
        begin = time.perf_counter()
        client.sendall(b"1 a request\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += client.recv(4096)
        times.append((time.perf_counter() - begin) * 1e6)
    return times


def p99(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]


def serve_meanwhile(count: int, directory: pathlib.Path) -> None:
    """Print the p99 of requests during checkpoints beside that of other times."""
    port = by_hand.free_port()
    application = storm_service.make_application("serving", f"127.0.0.1:{port}")
    service = application.add_service(Service(), "data")
    # Durable objects: what is not must be looked at again in every turn.
    rooms = TrackedList(bench_pickle.Room(number) for number in range(count // 3))
    service.graph = rooms  # type: ignore[attr-defined]  # as above
    with (
        by_hand.serving(directory, application, python_path=str(_HERE)) as server,
        socket.create_connection(("127.0.0.1", port), timeout=60) as client,
    ):
        client.recv(100)
        usual, meanwhile, ratios, longest = [], [], [], []
        for _ in range(ROUNDS):
            end = time.monotonic() + 2
            quiet = latencies_us(client, lambda end=end: time.monotonic() > end)
            saved = server.log().count("saved generation-")
            server.kill(signal.SIGHUP)
            busy = latencies_us(
                client, lambda saved=saved: server.log().count("saved generation-") > saved
            )
            usual.append(p99(quiet))
            meanwhile.append(p99(busy))
            ratios.append(meanwhile[-1] / usual[-1])
            longest.append(max(busy))
        print(
            f"requests: p99 {statistics.median(usual):.0f} us, during a checkpoint "
            f"{statistics.median(meanwhile):.0f} us: {statistics.median(ratios):.2f} (2); "
            f"longest {statistics.median(longest) / 1e3:.1f} ms"
        )


def first_screen(count: int, key: Key, directory: pathlib.Path) -> None:
    """Print how long ``tapctl show`` of a large TAP takes to its first 24 lines."""
    application = application_of(bench_pickle.mixed_graph(count), "large")
    store = Store(directory / "large.tap", key)
    store.create(application)
    size = store.tap_path.stat().st_size / 1e6
    del application
    took = []
    for _ in range(3):
        begin = time.perf_counter()
        program = "from tapd.cli.tapctl.command import main; main()"
        command = [sys.executable, "-c", program, "show", str(store.tap_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(24)]
            took.append(time.perf_counter() - begin)
            assert all(lines), lines
            process.stdout.read()
    print(f"tapctl show of {size:.0f} MB: first screen after {statistics.median(took):.2f} s (2)")


def main() -> None:
    """Run all."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        (directory / "serving").mkdir()
        key_path = directory / "key"
        key_path.touch(0o600)
        key_path.write_text(render_new_key())
        key = load_key(environment={"TAPD_KEY_FILE": str(key_path)})
        os.environ["TAPD_KEY_FILE"] = str(key_path)
        save_and_load(count, key)
        chains(count)
        pause(count, key, directory)
        serve_meanwhile(count, directory / "serving")
        first_screen(count * 6, key, directory)


if __name__ == "__main__":
    main()
