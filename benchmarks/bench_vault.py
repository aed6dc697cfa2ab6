r"""What the vault costs: microseconds a connection, the manager's share included.

Run: ``python benchmarks/bench_vault.py [CONNECTIONS]``. The manager is the
embedded one's store, in a process of its own, so that its processor time can be
read. With ``--notify`` it is PID 1; run that by systemd, as root::

    systemd-run --pipe --wait -p NotifyAccess=all -p FileDescriptorStoreMax=2000 \
        -p LimitNOFILE=65536 python3 benchmarks/bench_vault.py --notify

Printed for each thousand connections, to show that the cost does not grow:
wall time of `put`, and processor time of the manager. Then recovery, compaction
after half of the connections ended, and a comparison: FDSTORE=1 for each
connection, as without a vault.
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import signal
import socket
import time
from pathlib import Path

from tapd.host.manager.notify_socket import NotifySocket, Store
from tapd.systemd.notify import Notifier
from tapd.systemd.vault import Vault

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def serve_store(notify: NotifySocket) -> None:
    """Be the manager: keep what is sent, for ever."""
    epoll = select.epoll()
    epoll.register(notify, select.EPOLLIN)
    store = Store(1_000_000, epoll)
    while True:
        epoll.poll()
        for message in notify.read():
            if "FDSTORE" in message.fields:
                store.add(message)
            elif "FDSTOREREMOVE" in message.fields:
                store.remove(message.fields["FDNAME"])
            message.close_fds()


def processor_s(pid: int) -> float:
    """Return the processor time of `pid` (schedstat counts nanoseconds)."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def connections(count: int) -> list[tuple[socket.socket, socket.socket]]:
    """Return `count` TCP connections of loopback, both ends."""
    made = []
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        for _ in range(count):
            client = socket.create_connection(listener.getsockname())
            made.append((listener.accept()[0], client))
    return made


def measure(count: int, notifier: Notifier, manager: int) -> None:
    """Print the costs for `count` connections."""
    made = connections(count)
    vault = Vault(notifier)
    print(f"{'connections':>12} {'put, us':>9} {'manager, us':>12} {'stored':>7}")
    step = min(1000, count)
    total_s = -processor_s(manager)
    for start in range(0, count, step):
        manager_s, wall_s = processor_s(manager), time.perf_counter()
        for key in range(start, min(start + step, count)):
            if not vault.put(key, made[key][0].fileno()):
                raise SystemExit("a connection is unprotected: see the warning above")
        wall_s = time.perf_counter() - wall_s
        notifier.barrier(5)
        manager_s = processor_s(manager) - manager_s
        print(
            f"{start + step:>12} {wall_s / step * 1e6:>9.2f} {manager_s / step * 1e6:>12.2f} "
            f"{vault.segments:>7}"
        )
    total_s += processor_s(manager)
    print(f"the manager's time in all: {total_s * 1e3:.2f} ms")

    wall_s = time.perf_counter()
    for key in range(count):
        if key % 10:
            vault.forget(key)
            made[key][0].shutdown(socket.SHUT_RDWR)
    given_back = vault.compact(count)
    notifier.barrier(5)
    wall_s = time.perf_counter() - wall_s
    print(
        f"9 of 10 ended, compacted: {wall_s / count * 1e6:.2f} us a connection, "
        f"{given_back} segments given back, {vault.segments} left"
    )
    vault.close()
    for pair in made:
        for end in pair:
            end.close()


def measure_recovery(count: int) -> None:
    """Print what finding `count` connections again costs."""
    stored: dict[str, list[int]] = {}

    class Local:
        def store_fd(self, name: str, fd: int) -> bool:
            stored.setdefault(name, []).append(os.dup(fd))
            return True

        def remove_fd(self, name: str) -> bool:
            raise NotImplementedError

        def begin_barrier(self) -> object:
            reading, writing = os.pipe()
            os.close(writing)
            from tapd.systemd.notify import Barrier  # noqa: PLC0415 - of this stand-in only

            return Barrier(reading)

    made = connections(count)
    vault = Vault(Local())  # type: ignore[arg-type]  # a stand-in
    for key, (ours, _) in enumerate(made):
        vault.put(key, ours.fileno())
    vault.close()
    again = Vault(None)
    wall_s = time.perf_counter()
    held = again.recover(stored)
    wall_s = time.perf_counter() - wall_s
    print(f"recovered {len(held)}: {wall_s / count * 1e6:.2f} us a connection")
    for one in held:
        os.close(one.fd)
    for pair in made:
        for end in pair:
            end.close()


def measure_without(count: int, notifier: Notifier, manager: int) -> None:
    """Print what FDSTORE=1 for each connection costs, for comparison."""
    made = connections(count)
    wall_s, manager_s = time.perf_counter(), processor_s(manager)
    for key, (ours, _) in enumerate(made):
        notifier.store_fd(f"tapd-single-{key}", ours.fileno())
    notifier.barrier(60)
    wall_s, manager_s = time.perf_counter() - wall_s, processor_s(manager) - manager_s
    print(
        f"without a vault, FDSTORE=1 for each of {count}: {wall_s / count * 1e6:.2f} us, "
        f"manager {manager_s / count * 1e6:.2f} us a connection"
    )
    for key, pair in enumerate(made):
        notifier.remove_fd(f"tapd-single-{key}")
        for end in pair:
            end.close()


def main() -> None:
    """Measure with a store of our own, or with the one of the environment."""
    parser = argparse.ArgumentParser(description="What the vault costs.")
    parser.add_argument("connections", nargs="?", type=int, default=9000)
    parser.add_argument("--notify", action="store_true", help="use $NOTIFY_SOCKET and PID 1")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Recovery holds three descriptors a connection: both ends, and the one found.
    count = min(options.connections, (hard - 200) // 2)
    recovered = min(options.connections, (hard - 200) // 3)
    if options.notify:
        notifier = Notifier.from_environ(os.environ)
        measure(count, notifier, 1)
        measure_without(min(count, 1000), notifier, 1)
        measure_recovery(recovered)
        return
    notify = NotifySocket()
    manager = os.fork()
    if manager == 0:
        serve_store(notify)
    try:
        notifier = Notifier.from_environ({"NOTIFY_SOCKET": notify.path})
        measure(count, notifier, manager)
        measure_without(min(count, 2000), notifier, manager)
    finally:
        os.kill(manager, signal.SIGKILL)
        os.waitpid(manager, 0)
        notify.close()
    measure_recovery(recovered)


if __name__ == "__main__":
    main()
