"""The telnet tests' kit: a server without sockets, which can be killed at any byte."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import argon2
import pytest

from tapd.host.prompt import streams
from tapd.image.pickling.pickler import dump_graph, load_graph
from tapd.image.tracking.strict import StrictJar
from tapd.model.access.accounts import Account
from tapd.model.access.seal import Sealer
from tapd.model.application import QUEUE_GROUP_MAX, Application
from tapd.model.protocol import Protocol, Transport
from tapd.model.timer import Timer
from tapd.net.rate_limit import Tellings
from tapd.net.turn.fair_queue import FairQueue, Work
from tapd.services.telnet import ShellFactory
from tapd.services.telnet.session import ShellSession

PASSWORD = "woohoo"
# As cheap as argon2 gets: the hash says so itself.
_HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
_DECOY = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("decoy")


class FakeTransport:
    """The connection as the kernel and the client see it; it outlives the server."""

    def __init__(self, peername: Any) -> None:
        self.peername = peername
        self.output = bytearray()
        self.closed = False
        self.paused = False
        self.read_bytes_max = 65536
        self.protocol: Protocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closed:
            self.output += data

    def write_many(
        self, transports: Iterable[Transport], data: bytes, skip: Transport | None = None
    ) -> None:
        for transport in transports:
            if transport is not skip:
                transport.write(data)

    def writelines(self, chunks: Any) -> None:
        self.write(b"".join(chunks))

    def write_eof(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        if self.paused:
            self.paused = False
            if not self.closed and self.protocol is not None:
                self.protocol.reading_resumed()

    def set_read_limit(self, bytes_max: int | None) -> None:
        self.read_bytes_max = 65536 if bytes_max is None else bytes_max

    def is_reading(self) -> bool:
        return not self.paused and not self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.peername if name == "peername" else default


class FakeRuntime:
    """A host whose clock and threads move only when told to."""

    def __init__(self, now_s: float) -> None:
        self.time_s = now_s
        self.sealer = Sealer(b"k" * 32)
        self.calls: list[Callable[[], object]] = []
        self.jobs: list[tuple[Callable[..., Any], tuple[Any, ...], Callable[..., None]]] = []
        self.loop = asyncio.new_event_loop()
        self.tasks: list[asyncio.Task[Any]] = []
        self.queue = FairQueue(self._run_work, lambda _work: None, 1)
        self.tellings = Tellings(self.loop)

    def now_s(self) -> float:
        return self.time_s

    def call(self, function: Callable[[], object]) -> None:
        self.calls.append(function)

    def timer_added(self, timer: Timer) -> None:
        pass

    def connector_added(self, connector: Any) -> None:
        raise NotImplementedError

    def run_blocking(
        self, function: Callable[..., Any], args: tuple[Any, ...], done: Callable[[Any, Any], None]
    ) -> None:
        self.jobs.append((function, args, done))

    def _run_work(self, work: Work, finished: Callable[[], None]) -> None:
        def done(result: Any, error: Any) -> None:
            work.done(result, error)
            finished()

        self.run_blocking(work.function, work.args, done)

    def run_in_queue(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        done: Callable[[Any, Any], None],
        *,
        is_wanted: Callable[[], bool],
        group: str,
        group_max: int = QUEUE_GROUP_MAX,
    ) -> str:
        return self.queue.add(Work(function, args, done, is_wanted), group, group_max)

    def tell(
        self,
        log: logging.Logger,
        kind: str,
        text: str,
        *,
        peer: str = "",
        level: int = logging.INFO,
        at_once: int = 1,
        extra: Mapping[str, object] | None = None,
        error: BaseException | None = None,
    ) -> None:
        self.tellings.of(log, kind, level, at_once).tell(text, peer, extra, error)

    def run_coroutine(self, coroutine: Any, done: Callable[[Any, Any], None]) -> Callable[[], None]:
        task = self.loop.create_task(coroutine)

        def finished(task: asyncio.Task[Any]) -> None:
            if task.cancelled():
                done(None, asyncio.CancelledError())
            elif task.exception() is not None:
                done(None, task.exception())
            else:
                done(task.result(), None)

        task.add_done_callback(finished)
        self.tasks.append(task)
        return task.cancel  # type: ignore[return-value]  # nobody looks at what it returns

    def end(self) -> None:
        """End as a killed process does: nothing that ran here calls back."""
        for task in self.tasks:
            task.get_coro().close()
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.loop._ready.clear()  # type: ignore[attr-defined]  # its callbacks died with it
        self.loop.close()


class Server:
    """An application with a shell, and the connections to it."""

    def __init__(
        self, *, private: bool = False, users: tuple[str, ...] = ("admin",), strict: bool = False
    ) -> None:
        self.application = Application("telnet", uid=0, gid=0)
        self.service = ShellFactory(private=private)
        self.application.add_service(self.service)
        for name in users:
            self.application.authorizer.accounts[name] = Account(name, _HASH)
        self.runtime = FakeRuntime(1000.0)
        self.application._v_runtime = self.runtime
        self.transports: dict[int, FakeTransport] = {}
        self.service.start()
        self.strict = strict
        self._adopt()

    def _adopt(self) -> None:
        if self.strict:
            self.jar = StrictJar()
            self.jar.adopt(self.application)

    def commit(self) -> None:
        """End a turn: in strict mode, check that the journal would restore what is there."""
        if self.strict:
            self.jar.commit()

    def connect(self, peername: Any = ("127.0.0.1", 50000)) -> Client:
        protocol = self.service.build_protocol(peername)
        protocol.service = self.service
        key = self.application.next_key()
        self.application.connections[key] = protocol
        transport = self.transports[key] = FakeTransport(peername)
        protocol.transport = transport
        transport.protocol = protocol
        protocol.connection_made(transport)
        self.commit()
        return Client(self, key)

    def refuse(self) -> FakeTransport:
        """Connect where that is refused."""
        protocol = self.service.build_protocol(("127.0.0.1", 1))
        transport = FakeTransport(("127.0.0.1", 1))
        protocol.connection_made(transport)
        return transport

    def settle(self) -> None:
        """Run threads, due timers and tasks until nothing is left to do now."""
        while self.turn():
            pass

    def turn(self) -> bool:
        """Do one thing that is due; return whether there was any."""
        for _ in range(3):  # a task's end and its callback are passes of their own
            self.runtime.loop.call_soon(self.runtime.loop.stop)
            self.runtime.loop.run_forever()
        if self.runtime.calls:
            self.runtime.calls.pop(0)()
            self.commit()
            return True
        if self.runtime.jobs:
            function, args, done = self.runtime.jobs.pop(0)
            done(function(*args), None)
            self.commit()
            return True
        for timer in sorted(self.application.delayeds.values(), key=lambda t: t.due_s):
            if timer.due_s <= self.runtime.time_s:
                del self.application.delayeds[timer.key]
                timer.function(*timer.args)
                self.commit()
                return True
        return False

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.runtime.time_s += seconds
        self.settle()

    def kill(self) -> None:
        """Die after the last turn's commit, and come back in another process."""
        self.roll_back(self.snapshot())

    def snapshot(self) -> tuple[bytes, dict[int, bytes]]:
        """Return what is committed: the state and what was sent."""
        outputs = {key: bytes(transport.output) for key, transport in self.transports.items()}
        return dump_graph(self.application).data, outputs

    def roll_back(self, committed: tuple[bytes, dict[int, bytes]]) -> None:
        """Come back from what was committed, in another process."""
        now_s = self.runtime.time_s
        self.runtime.end()
        self.application = load_graph(committed[0])
        for key, output in committed[1].items():
            self.transports[key].output[:] = output
        self.runtime = FakeRuntime(now_s)
        self.application._v_runtime = self.runtime
        service = self.application.services["shellfactory"]
        assert isinstance(service, ShellFactory)
        self.service = service
        service.start()
        for key, protocol in self.application.connections.items():
            protocol.transport = transport = self.transports[key]
            transport.protocol = protocol
            protocol.connection_resumed()
            if transport.is_reading() and protocol.kept_bytes():
                protocol.reading_resumed()
        self._adopt()


class Client:
    """One connection, from its other end."""

    def __init__(self, server: Server, key: int) -> None:
        self.server = server
        self.key = key
        self.seen = 0
        self.unread = b""

    @property
    def transport(self) -> FakeTransport:
        return self.server.transports[self.key]

    @property
    def session(self) -> ShellSession:
        session = self.server.application.connections[self.key]
        assert isinstance(session, ShellSession)
        return session

    def send(self, data: bytes) -> None:
        """Send `data`; the server takes it as soon as it reads."""
        streams.install()  # pytest puts its own in place between set-up and call
        self.unread += data
        self.deliver()

    def deliver(self) -> None:
        self.server.settle()
        while self.unread and not self.transport.paused and not self.transport.closed:
            size = self.transport.read_bytes_max
            data, self.unread = self.unread[:size], self.unread[size:]
            self.session.data_received(data)
            self.server.commit()
            self.server.settle()

    def read(self) -> bytes:
        """Return what came since the last time."""
        output = bytes(self.transport.output[self.seen :])
        self.seen = len(self.transport.output)
        return output

    def ask(self, line: bytes) -> str:
        """Send one line as nc would, and return what it prints, without the prompt."""
        self.read()
        self.send(line + b"\n")
        output = self.read().decode()
        assert output.endswith((">>> ", "... ")), output
        return output[:-4].replace("\r\n", "\n")

    def log_in(self, name: bytes = b"admin") -> Client:
        self.send(name + b"\n" + PASSWORD.encode() + b"\n")
        assert self.read().endswith(b">>> ")
        return self

    def accept_character_mode(self, width: int = 80, terminal: bytes = b"VT100") -> Client:
        """Answer the offers as terminals do."""
        self.send(b"\xff\xfd\x01\xff\xfd\x03\xff\xfb\x18\xff\xfb\x1f")
        self.send(b"\xff\xfa\x1f" + width.to_bytes(2, "big") + b"\x00\x18\xff\xf0")
        self.send(b"\xff\xfa\x18\x00" + terminal + b"\xff\xf0")
        return self


@pytest.fixture
def make_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Make servers whose standard streams are put back afterwards."""
    monkeypatch.setattr("tapd.services.telnet.login.decoy_hash", lambda: _DECOY)
    servers: list[Server] = []

    def make(**options: Any) -> Server:
        servers.append(Server(**options))
        return servers[-1]

    yield make
    streams.uninstall()
    for server in servers:
        server.runtime.end()


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """One server with the account admin."""
    return make_server()
