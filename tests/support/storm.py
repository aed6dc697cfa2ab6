"""The storm: many clients with scripted dialogues, and a server killed under them.

Every client checks every byte that it gets: lines in order, none missing, none
twice. The counts that the server put into the answers must be, over all
clients, 1 to their number. Driven by tests and, for longer storms, by hand:

    python tests/support/storm.py --seconds 600 --clients 300
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Awaitable, Callable

HELLO = b"hello\n"
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@dataclasses.dataclass
class Report:
    """What a storm measured."""

    clients: int = 0
    connections: int = 0
    lines: int = 0
    kills: int = 0
    longest_pause_s: float = 0.0
    counts: list[int] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)

    def check(self) -> None:
        """Fail unless everything was exact."""
        assert not self.failures, self.failures[:5]
        assert self.lines > 0
        assert sorted(self.counts) == list(range(1, self.lines + 1)), "a gap or a repeat"

    def __str__(self) -> str:
        return (
            f"{self.kills} kills under {self.clients} clients ({self.connections} connections): "
            f"{self.lines} lines, all exact: {not self.failures}; "
            f"longest pause {self.longest_pause_s:.3f} s"
        )


class Client:
    """One client: sends bursts of lines in pieces, and reads their answers."""

    def __init__(self, report: Report, connect: Connect, seed: int, deadline: float) -> None:
        self.report = report
        self.connect = connect
        self.random = random.Random(seed)
        self.deadline = deadline

    async def run(self) -> None:
        """Hold dialogues until the deadline, each on a connection of its own."""
        while time.monotonic() < self.deadline:
            try:
                await asyncio.wait_for(self._dialogue(), 120)
            except (OSError, AssertionError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.report.failures.append(f"{type(error).__name__}: {error}")
                return

    async def _dialogue(self) -> None:
        reader, writer = await self.connect()
        self.report.connections += 1
        assert await reader.readexactly(len(HELLO)) == HELLO
        number = 0
        for _ in range(self.random.randrange(5, 200)):
            texts = [
                b"x" * self.random.randrange(60) + b"%d" % self.random.randrange(1 << 30)
                for _ in range(self.random.choice((1, 1, 1, 2, 10)))
            ]
            burst = b"".join(b"%d %b\n" % (number + i, text) for i, text in enumerate(texts))
            cut = self.random.randrange(len(burst))
            writer.write(burst[:cut])
            await asyncio.sleep(0)
            writer.write(burst[cut:])
            started = time.monotonic()
            for text in texts:
                line = await reader.readuntil(b"\n")
                got, count, echoed = line[:-1].split(b" ", 2)
                assert (int(got), echoed) == (number, text), (line, number, text)
                self.report.counts.append(int(count))
                self.report.lines += 1
                number += 1
            pause = time.monotonic() - started
            self.report.longest_pause_s = max(self.report.longest_pause_s, pause)
            if time.monotonic() > self.deadline:
                break
            if self.random.random() < 0.2:
                await asyncio.sleep(self.random.random() * 0.02)
        writer.write_eof()
        assert await reader.read() == b"bye %d\n" % number
        writer.close()


async def storm(
    connect: Connect,
    strike: Callable[[], object],
    *,
    clients: int,
    seconds: float,
    pause_s: tuple[float, float] = (0.05, 0.6),
    seed: int = 1,
) -> Report:
    """Run `clients` for `seconds`, calling `strike` at random instants."""
    report = Report(clients=clients)
    deadline = time.monotonic() + seconds
    chance = random.Random(seed)
    tasks = [
        asyncio.create_task(Client(report, connect, seed * 1000 + i, deadline).run())
        for i in range(clients)
    ]
    while time.monotonic() < deadline - 1 and not report.failures:
        await asyncio.sleep(chance.uniform(*pause_s))
        if time.monotonic() < deadline:  # afterwards nobody may be left to see it recover
            strike()
            report.kills += 1
    await asyncio.gather(*tasks)
    return report


def main() -> None:
    """Run a storm by hand, under the embedded manager."""
    import argparse
    import pathlib
    import tempfile

    from by_hand import free_port, serving
    from storm_service import make_application

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--checkpoint", type=float, default=2)
    parser.add_argument("--every", type=float, help="seconds from kill to kill; random without")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        application = make_application("storm", f"127.0.0.1:{port}")
        path = pathlib.Path(directory)
        with serving(path, application, "--checkpoint", str(options.checkpoint)) as server:
            report = asyncio.run(
                storm(
                    lambda: asyncio.open_connection("127.0.0.1", port),
                    server.kill,
                    clients=options.clients,
                    seconds=options.seconds,
                    pause_s=(options.every, options.every) if options.every else (0.05, 0.6),
                    seed=options.seed,
                )
            )
        print(report)
        for failure in report.failures:
            print("  ", failure)
        pathlib.Path("storm.log").write_text(server.log())
        report.check()


if __name__ == "__main__":
    main()
