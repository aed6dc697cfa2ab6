"""An application's turns in this process, with raw sockets for clients and crashes on demand.

The process is that of the testing kit (`tapd.testing.process`): this is another
face of it, for tests of the turn itself. Peers here are plain sockets, which a
test may fill, reset and half-close behind the server's back, and nothing is at
rest before `pump` says so; time passes in `wait_for` only.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from delivery import SYN, was_late

from tapd.model.application import Application
from tapd.store.generations import Store
from tapd.store.state import State
from tapd.testing.checking import ALL
from tapd.testing.clock import Clock
from tapd.testing.process import KEY, Home, KeptSockets, Process, QuickFiles, SteppedTurn

BOOT = "boot"
_TICK_S = 0.01
PATIENCE_S = 60.0
"""After which what does not come counts as hung."""


class Peer:
    """The other end of a connection."""

    def __init__(
        self,
        sock: socket.socket,
        pump: Callable[[], None],
        pass_time: Callable[[], None] = lambda: None,
        far_end: Callable[[], socket.socket | None] = lambda: None,
    ) -> None:
        self.sock = sock
        self.pump = pump
        self.pass_time = pass_time
        self._far_end = far_end

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)
        self.pump()
        if was_late(self.sock, self._far_end(), SYN):
            self.pump()

    def read(self) -> bytes:
        """Return what has arrived by now."""
        self.pump()
        far_end = self._far_end()
        if far_end is not None:
            was_late(far_end, self.sock)
        self.sock.setblocking(False)
        chunks = []
        try:
            while data := self.sock.recv(65536):
                chunks.append(data)
        except BlockingIOError:
            pass
        finally:
            self.sock.setblocking(True)
        return b"".join(chunks)

    def expect(self, data: bytes) -> None:
        """Check that `data`, and nothing else, arrives."""
        got = b""
        deadline = time.monotonic() + PATIENCE_S
        while len(got) < len(data) and time.monotonic() < deadline:
            new = self.read()
            got += new
            if not new:
                self.pass_time()  # it may be a timer that writes
        assert got == data

    def read_end(self) -> bytes:
        """Return what arrives up to the end of the connection."""
        self.sock.setblocking(False)
        chunks = []
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            self.pump()
            with contextlib.suppress(BlockingIOError):
                while data := self.sock.recv(65536):
                    chunks.append(data)
                return b"".join(chunks)
        raise AssertionError("the connection does not end")


class RealPlaces(Mapping[str, Any]):
    """Where an application connects to is where it really is."""

    def __getitem__(self, where: str) -> Any:
        if where.startswith("unix:"):
            return where.removeprefix("unix:")
        host, _, port = where.rpartition(":")
        return host, int(port)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Harness:
    """One application, served in this process, with strict mode on."""

    def __init__(
        self,
        directory: Path,
        application: Application,
        *,
        family: str = "tcp",
        strict: bool = True,
        datagrams: socket.socket | None = None,
    ) -> None:
        self.path = directory / f"{application.name}.tap"
        Store(self.path, KEY, files=QuickFiles()).create(application)
        if family == "unix":
            self.listening = socket.socket(socket.AF_UNIX)
            self.listening.bind(str(directory / "socket"))
        else:
            is_ipv6 = family == "tcp6"
            self.listening = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET)
            self.listening.bind(("::1" if is_ipv6 else "127.0.0.1", 0))
        self.listening.listen()
        self.vault = KeptSockets()
        self.clock = Clock(time.time())
        self.clock.drive(self.pump, self._next_moment_s)
        self.peers: list[Peer] = []
        self._keys: dict[Any, int] = {}  # of streams, by the peer's address
        self.fault: Callable[[str], None] = lambda _name: None
        first = next(iter(application.services))
        listening: dict[int | str, socket.socket] = {first: self.listening}
        if datagrams is not None:
            listening[0] = datagrams
        self.home = Home(
            self.path, self.clock, self.vault, RealPlaces(), listening,
            self._pass_point, boot_id=BOOT, proofs=ALL if strict else 0, allow_losses=("*",),
        )  # fmt: skip
        self.process: Process | None = None
        self.start()

    @property
    def turn(self) -> SteppedTurn | None:
        """The turn, which there is between `start` and `crash`."""
        return self.process.turn if self.process is not None else None

    @property
    def serving(self) -> SteppedTurn:
        """The turn; a failure where there is none."""
        assert self.process is not None
        return self.process.serving

    @property
    def application(self) -> Application:
        """The application as the process knows it."""
        assert self.process is not None
        return self.process.application

    @property
    def jar(self) -> Any:
        """The jar of the process."""
        assert self.process is not None
        return self.process.jar

    @property
    def state(self) -> State:
        """The files: those of the process, or as the next one will find them."""
        return self.process.state if self.process is not None else self.home.state()

    def start(self) -> None:
        """Restore from the files and begin."""
        self.process = Process(self.home)

    def _pass_point(self, name: str) -> None:
        self.fault(name)  # looked up now: tests change it while the turn runs

    def _next_moment_s(self) -> float | None:
        return self.process.loop.next_moment_s() if self.process is not None else None

    def pump(self) -> None:
        """Run turns until nothing is due."""
        assert self.process is not None
        turn = self.serving
        for _ in range(1000):
            for _pass in range(3):  # what a task awaits at once it gets before the turn
                self.process.loop.run_pass()
            before = turn.commits.turns
            turn.step()
            is_still = (
                turn.commits.turns == before and not turn.is_busy and self.process.loop.is_idle
            )
            if turn.commits.is_stalled or is_still:
                return
        raise AssertionError("the turns don't come to rest")

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Let time pass until `condition` holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "it never came"
            self.pass_time()

    def pass_time(self) -> None:
        """Let a moment pass."""
        self.clock.advance(_TICK_S)

    def open(self, source: str = "") -> Peer:
        """Open a connection, from the address `source`, without letting the server see it yet."""
        sock = socket.socket(self.listening.family)
        if source:
            sock.bind((source, 0))
        sock.connect(self.listening.getsockname())
        name = sock.getsockname()
        peer = Peer(sock, self.pump, self.pass_time, lambda: self._socket_of(name))
        self.peers.append(peer)
        return peer

    def _socket_of(self, name: Any) -> socket.socket | None:
        """Return the server's socket of the peer at the address `name`, if it has one."""
        if self.process is None or self.listening.family != socket.AF_INET:
            return None
        streams = self.serving.streams
        known = set(self._keys.values())
        for key, stream in streams.items():
            if key not in known:
                with contextlib.suppress(OSError):
                    self._keys[stream.sock.getpeername()] = key
        found = streams.get(self._keys.get(name, -1))
        return None if found is None else found.sock

    def connect(self, source: str = "") -> Peer:
        """Open a connection, from the address `source`."""
        peer = self.open(source)
        self.pump()
        return peer

    def crash(self) -> None:
        """Lose the process: its memory and its descriptors, without a last word."""
        assert self.process is not None
        self.give_up()
        self.start()

    def give_up(self) -> None:
        """End the process, if there is one: a start that failed has ended already."""
        if self.process is not None:
            self.process.die()
            self.process = None

    def start_unclean(self, deaths: int) -> None:
        """Crash `deaths` times in a row, each before the server has run what waits."""
        for _ in range(deaths):
            self.crash()

    def save(self) -> None:
        """Save a generation, as a checkpoint does."""
        assert self.process is not None
        self.process.save()

    def close(self) -> None:
        """Give everything back."""
        self.give_up()
        for key in list(self.vault.held):
            self.vault.forget(key)
        for peer in self.peers:
            peer.sock.close()
        self.listening.close()


def harnesses(directory: Path) -> Iterator[Callable[..., Harness]]:
    """Yield a maker of harnesses, and close what it made."""
    made: list[Harness] = []

    def make(application: Application, **options: Any) -> Harness:
        made.append(Harness(directory, application, **options))
        return made[-1]

    yield make
    for harness in made:
        harness.close()
