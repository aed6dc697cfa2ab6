"""An application's turns in this process, over real sockets, with crashes on demand.

The files are real (a TAP and its journal in a temporary directory), so are the
TCP connections; only the service manager's fd store is a dict. `crash` throws
the objects away as a kill would and restores them from the files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tapd.host.state import State
from tapd.image.jar import Jar
from tapd.image.key import Key
from tapd.image.strict import StrictJar
from tapd.model.application import Application
from tapd.model.seal import Sealer
from tapd.net.listener import Listener
from tapd.net.recovery import Resumed, adopt_held, begin_turns
from tapd.net.turn import Turn
from tapd.systemd.segment import Held, socket_cookie

KEY = Key(b"k" * 32)
BOOT = "boot"


class DictVault:
    """Keeps duplicates of descriptors in this process; lives through crashes."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}
        self.on_sender: Callable[[int], None] = lambda _fd: None

    def put(self, key: int, fd: int) -> bool:
        self.held[key] = os.dup(fd)
        return True

    def forget(self, key: int) -> None:
        fd = self.held.pop(key, None)
        if fd is not None:
            os.close(fd)

    def recover(self) -> list[Held]:
        return [Held(key, socket_cookie(fd), os.dup(fd)) for key, fd in sorted(self.held.items())]


class Peer:
    """The other end of a connection."""

    def __init__(self, sock: socket.socket, pump: Callable[[], None]) -> None:
        self.sock = sock
        self.pump = pump

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)
        self.pump()

    def read(self) -> bytes:
        """Return what has arrived by now."""
        self.pump()
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
        deadline = time.monotonic() + 10
        while len(got) < len(data) and time.monotonic() < deadline:
            got += self.read()
        assert got == data

    def read_end(self) -> bytes:
        """Return what arrives up to the end of the connection."""
        self.sock.setblocking(False)
        chunks = []
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            self.pump()
            with contextlib.suppress(BlockingIOError):
                while data := self.sock.recv(65536):
                    chunks.append(data)
                return b"".join(chunks)
        raise AssertionError("the connection does not end")


class Harness:
    """One application, served in this process, with strict mode on."""

    def __init__(
        self,
        directory: Path,
        application: Application,
        *,
        family: str = "tcp",
        strict: bool = True,
    ) -> None:
        self.is_strict = strict
        self.path = directory / f"{application.name}.tap"
        State(self.path, KEY).store.create(application)
        if family == "unix":
            self.listening = socket.socket(socket.AF_UNIX)
            self.listening.bind(str(directory / "socket"))
        else:
            self.listening = socket.socket()
            self.listening.bind(("127.0.0.1", 0))
        self.listening.listen()
        self.vault = DictVault()
        self.loop = asyncio.new_event_loop()
        self.peers: list[Peer] = []
        self.fault: Callable[[str], None] = lambda _name: None
        self.turn: Turn | None = None
        self.start()

    @property
    def serving(self) -> Turn:
        """The turn, which there is between `start` and `crash`."""
        assert self.turn is not None
        return self.turn

    def start(self) -> None:
        """Restore from the files and begin."""
        self.state = State(self.path, KEY)
        self.lock = self.state.store.lock()
        restored = self.state.restore()
        self.application = restored.application
        jar = StrictJar() if self.is_strict else Jar()
        jar.adopt(self.application)
        self.jar: Any = jar
        self.turn = turn = Turn(
            self.application, jar, self.vault, Sealer(b"s" * 32), self.loop,  # type: ignore[arg-type]
            self._pass_point,
        )  # fmt: skip
        turn.journal = self.state.open_journal(BOOT)
        self.application._v_runtime = turn
        service = next(iter(self.application.services.values()))
        turn.listen(Listener(self.listening, service))
        resumed: Resumed = adopt_held(turn, restored.history, self.vault.recover())
        begin_turns(turn, resumed, restored.history, BOOT)
        turn.open()

    def _pass_point(self, name: str) -> None:
        self.fault(name)  # looked up now: tests change it while the turn runs

    def pump(self) -> None:
        """Run turns until nothing is due. Loopback delivers at once."""
        assert self.turn is not None
        for _ in range(1000):
            self.loop.run_until_complete(asyncio.sleep(0))
            before = self.turn.turns
            self.turn.run()
            if self.turn.is_stalled or (self.turn.turns == before and not self.turn.is_busy):
                return
        raise AssertionError("the turns don't come to rest")

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Run the loop until `condition` holds."""
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "it never came"
            self.loop.run_until_complete(asyncio.sleep(0.001))
            self.pump()

    def open(self) -> Peer:
        """Open a connection, without letting the server see it yet."""
        sock = socket.socket(self.listening.family)
        peer = Peer(sock, self.pump)
        self.peers.append(peer)
        sock.connect(self.listening.getsockname())
        return peer

    def connect(self) -> Peer:
        """Open a connection."""
        peer = self.open()
        self.pump()
        return peer

    def crash(self) -> None:
        """Lose the process: its memory and its descriptors, without a last word."""
        assert self.turn is not None
        self.give_up()
        self.start()

    def give_up(self) -> None:
        """Clean up after a `start` that failed, as the end of its process would."""
        if self.turn is not None:
            turn, self.turn = self.turn, None
            turn.stop_listening()
            turn.close()
            for stream in turn.streams.values():
                stream.sock.close()  # a duplicate is in the vault
            if turn.journal is not None:
                turn.journal.close()
        self.lock.release()

    def start_unclean(self, deaths: int) -> None:
        """Crash `deaths` times in a row, each before the server has run what waits."""
        for _ in range(deaths):
            self.crash()

    def save(self) -> None:
        """Save a generation, as a checkpoint does."""
        assert self.turn is not None
        self.turn.change_journal(self.state.begin_generation(), BOOT, clean=False)
        report = self.state.save(self.application, self.state.generation, clean=False)
        self.state.note_saved(report.generation)

    def close(self) -> None:
        """Give everything back."""
        if self.turn is not None:
            self.turn.close()
            for stream in self.turn.streams.values():
                stream.sock.close()
            if self.turn.journal is not None:
                self.turn.journal.close()
        for key in list(self.vault.held):
            self.vault.forget(key)
        for peer in self.peers:
            peer.sock.close()
        self.listening.close()
        self.lock.release()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


def harnesses(directory: Path) -> Iterator[Callable[..., Harness]]:
    """Yield a maker of harnesses, and close what it made."""
    made: list[Harness] = []

    def make(application: Application, **options: Any) -> Harness:
        made.append(Harness(directory, application, **options))
        return made[-1]

    yield make
    for harness in made:
        harness.close()
