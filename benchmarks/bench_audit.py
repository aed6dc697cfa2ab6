"""What the audit after a save costs: processor time, memory, and what clients notice.

Run: ``python benchmarks/bench_audit.py [COUNT]``. An application of COUNT objects (a
million by default) is saved by a forked child, which then restores what the generation
before says and compares. Told are the audit's own processor time and memory, both to
those of the save, and memory to the size of the file (`host.saving.audit.MEMORY_FACTOR` must be
above that); the same where it may take a fifth of that, so that a part is compared each
time; then the p99 of replies while a server audits, to that of quiet times in
the same run.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(1, str(pathlib.Path(__file__).parents[1] / "tests" / "support"))

import bench_pickle
import bench_tap
import by_hand
import storm_service

from tapd.host.audited import Audited
from tapd.host.saving.audit import MEMORY_FACTOR, Audit
from tapd.host.saving.checkpoint import Checkpointer
from tapd.image.tracking.jar import Jar
from tapd.model.durable.tracked import TrackedList
from tapd.model.service import Service
from tapd.store.generations import Store
from tapd.store.key import Key, load_key, render_new_key
from tapd.store.snapshot import SaveReport

ROUNDS = 3
TAPCTL = (sys.executable, "-c", "from tapd.cli.tapctl.command import main; main()")


def save_and_audit(
    graph: Any, key: Key, directory: pathlib.Path, what: str, *, share: float = 1
) -> None:
    """Print what an audit costs of an application that holds `graph`.

    Args:
        graph: is in the application.
        key: of its TAP.
        directory: that the TAP is made in.
        what: says what it is.
        share: how much it may take of the memory that an audit of all would.
    """
    store = Store(directory / f"{what.replace(' ', '-')}.tap", key)
    application = bench_tap.application_of(graph, store.name)
    Jar().adopt(application)
    allowed = int(store.create(application).size_bytes * MEMORY_FACTOR * share)
    base = 1
    gc.collect()
    gc.freeze()
    with store.lock():
        checkpointer = Checkpointer(keep_fds=store.lock_fds)
        for _ in range(ROUNDS):
            generation = store.next_generation()

            def save(generation: int = generation) -> SaveReport:
                began_s = time.process_time()
                report = store.save(application, generation, clean=False)
                took_s = time.process_time() - began_s
                return report.replace(duration_s=took_s)

            audit = Audit(store.named_path, key, base, generation, allowed)
            report, found = asyncio.run(_checkpoint(checkpointer, save, audit, application))
            assert isinstance(found, Audited), found
            assert not found.differences, found
            assert bool(found.reason) == (share < 1 and base == 1), found
            saved_s, size = report.duration_s, report.size_bytes
            print(
                f"{what}: save {saved_s:.2f} s, audit {found.processor_s:.2f} s of the processor "
                f"({found.processor_s / saved_s:.1f} times), {found.objects} objects compared "
                f"(1 of {found.parts} parts), "
                f"{found.memory_bytes / 2**20:.0f} MiB: "
                f"{found.memory_bytes / size:.1f} times the file ({MEMORY_FACTOR})"
            )
            base = generation
    gc.unfreeze()


async def _checkpoint(
    checkpointer: Checkpointer, save: Any, audit: Audit, application: Any
) -> tuple[SaveReport, Audited | str]:
    over: asyncio.Future[Audited | str] = asyncio.get_running_loop().create_future()
    run = functools.partial(audit.run, application)
    report = await checkpointer.checkpoint(save, run, over.set_result)
    return report, await over


def serve_meanwhile(count: int, directory: pathlib.Path) -> None:
    """Print the p99 of replies during audits beside that of other times."""
    port = by_hand.free_port()
    application = storm_service.make_application("serving", f"127.0.0.1:{port}")
    service = application.add_service(Service(), "data")
    rooms = TrackedList(bench_pickle.Room(number) for number in range(count // 3))
    service.graph = rooms  # type: ignore[attr-defined]  # data of its own, as services have
    python_path = str(pathlib.Path(__file__).parent)
    with (
        by_hand.serving(directory, application, python_path=python_path) as server,
        socket.create_connection(("127.0.0.1", port), timeout=60) as client,
    ):
        bench_tap.latencies_us(client, lambda: True)
        for _ in range(ROUNDS):
            begun_s = time.monotonic()
            quiet = bench_tap.latencies_us(client, lambda t=begun_s: time.monotonic() > t + 3)
            command = [*TAPCTL, "audit", str(server.tap), "--json"]
            with subprocess.Popen(command, env=server.environ, stdout=subprocess.PIPE) as audit:
                busy = bench_tap.latencies_us(client, lambda a=audit: a.poll() is not None)
                assert audit.stdout is not None
                found = json.loads(audit.stdout.read())
            assert audit.returncode == 0, found
            quiet_us, busy_us = bench_tap.p99(quiet), bench_tap.p99(busy)
            print(
                f"p99 of replies: {quiet_us:.0f} us, during save and audit {busy_us:.0f} us "
                f"({busy_us / quiet_us:.2f} times; audit {found['duration_s']:.1f} s)"
            )


def main() -> None:
    """Run all."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        (directory / "key").touch(0o600)
        (directory / "key").write_text(render_new_key())
        key = load_key(environment={"TAPD_KEY_FILE": str(directory / "key")})
        save_and_audit(bench_pickle.mixed_graph(count), key, directory, f"mixed {count} objects")
        rooms = TrackedList(bench_pickle.Room(number) for number in range(count // 3))
        save_and_audit(rooms, key, directory, f"durable {count // 3} rooms")
        save_and_audit(rooms, key, directory, f"durable {count // 3} rooms in parts", share=1 / 5)
        del rooms
        (directory / "serving").mkdir()
        serve_meanwhile(count, directory / "serving")


if __name__ == "__main__":
    main()
