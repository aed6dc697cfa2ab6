"""The Application: a server's whole self."""

from __future__ import annotations

import functools
import logging
import math
import os
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from typing import Protocol as TypingProtocol

from tapd.errors import AuthorError, UsageError
from tapd.model.access.accounts import Authorizer
from tapd.model.access.peers import group_of_peer
from tapd.model.access.seal import Sealer
from tapd.model.address import Address, parse_address
from tapd.model.callbacks import check_callback
from tapd.model.connector import Connector
from tapd.model.datagram import DatagramProtocol
from tapd.model.durable.namespace import Namespace
from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import TrackedDict, TrackedList
from tapd.model.service import Service
from tapd.model.timer import Timer

if TYPE_CHECKING:
    from tapd.model.protocol import Protocol

QUEUE_MAX = 512
"""Limit of queued and running jobs of `Runtime.run_in_queue`, all groups: 51 s of hashes."""
QUEUE_GROUP_MAX = 16
"""The same limit for one group."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*\Z")


class Runtime(TypingProtocol):
    """What a running application needs of its host; set while it runs."""

    def now_s(self) -> float:
        """Return the wall clock, in seconds since the epoch."""

    def timer_added(self, timer: Timer) -> None:
        """Note a new timer."""

    def call(self, function: Callable[[], object]) -> None:
        """Run `function` in the next turn; thread-safe.

        Not durable: if the process ends before that turn, it is not run.
        """

    def run_blocking(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        done: Callable[[Any, Any], None],
    ) -> None:
        """Run `function` in a thread, then ``done(result, error)`` in a turn. Not durable."""

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
        """Like `run_blocking`, for costly work that strangers can request (`net.turn.fair_queue`).

        Args:
            function: runs in a thread when its turn comes.
            args: for it.
            done: takes result and error.
            is_wanted: called in a turn before the function runs; if it returns False, the
                job is dropped and `done` never called.
            group: the group of peers that it counts for (`model.access.peers`); groups take
                turns.
            group_max: how many jobs of this group may wait or run.

        Returns:
            "" if it was queued; else, in words for people, that too much waits for the
            group or for all.
        """

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
        """Log with a rate limit, for what a stranger can trigger at will; see `net.rate_limit`.

        Args:
            log: the logger.
            kind: lines of one kind are counted together.
            text: the line.
            peer: tells apart the peers that trigger it.
            level: of `logging`.
            at_once: how many lines are written at once; more within a while are counted.
            extra: fields for the journal.
            error: its traceback is logged with a line that is written at once.
        """

    def run_coroutine(
        self, coroutine: Coroutine[Any, Any, Any], done: Callable[[Any, Any], None]
    ) -> Callable[[], None]:
        """Run `coroutine` as a task, then ``done(result, error)`` in a turn.

        Not durable. Returns a function that cancels it.
        """

    def connector_added(self, connector: Connector) -> None:
        """Make the connection of `connector`."""

    @property
    def sealer(self) -> Sealer:
        """The sealer, which keeps secrets unreadable in the journal and the TAP."""


class Port(Persistent):
    """A listening address and the service that answers there.

    Attributes:
        address: the address.
        service: the service.
        protocol: of a datagram port, once it has been served.
    """

    protocol: DatagramProtocol | None = None

    def __init__(self, address: Address, service: Service) -> None:
        self.address = address
        self.service = service

    def __repr__(self) -> str:
        return f"<Port {self.address} of {self.service!r}>"


class Application(Persistent):
    """Services, their data and their connections, under one name.

    Attributes:
        name: names its TAP and its systemd instance.
        lineage: a random id, given at creation and kept in all of its TAPs. It tells
            its shutdown TAP from that of another application.
        authorizer: its accounts.
        services: by name.
        ports: its listening addresses.
        connectors: outbound connections that it maintains, by key.
        delayeds: pending timers, by key.
        connections: the protocols of its open connections, by key.
        namespace: of `tapctl shell`; None before its first use.
        python_path: directories of its services' code, if that is not installed as a
            package.
        uid: the user who created it (informative; systemd decides who runs it).
        gid: the group of that user.
    """

    persistence_version: ClassVar[int] = 1
    _v_runtime: Any = None
    namespace: Namespace | None = None
    python_path: tuple[str, ...] = ()

    def __init__(self, name: str, uid: int | None = None, gid: int | None = None) -> None:
        """Make an application without services.

        Raises:
            UsageError: `name` can't be the name of a file and a unit.
        """
        check_name(name)
        self.name = name
        self.lineage = os.urandom(16).hex()
        self.authorizer = Authorizer()
        self.services: dict[str, Service] = TrackedDict()
        self.ports: list[Port] = TrackedList()
        self.connectors: dict[int, Connector] = TrackedDict()
        self.delayeds: dict[int, Timer] = TrackedDict()
        self.connections: dict[int, Protocol] = TrackedDict()
        self.uid = os.getuid() if uid is None else uid
        self.gid = os.getgid() if gid is None else gid
        self.last_key = 0

    def __repr__(self) -> str:
        return f"<{self.name} app>"

    @property
    def running(self) -> bool:
        """Whether this process is serving it now."""
        return self._v_runtime is not None

    @property
    def runtime(self) -> Runtime:
        """The runtime that serves it.

        Raises:
            AuthorError: it is not running.
        """
        runtime: Runtime | None = self._v_runtime
        if runtime is None:
            raise AuthorError(f"{self!r} is not running; run it before asking for this")
        return runtime

    def bind_runtime(self, runtime: Runtime | None) -> None:
        """Set the runtime; None when it stops running (for tapd's hosts)."""
        self._v_runtime = runtime

    def next_key(self) -> int:
        """Return a number that is unique in this application's life."""
        self.last_key += 1
        return self.last_key

    def add_service(self, service: Service, name: str = "") -> Service:
        """Add `service` under `name` (default: its class's name in lower case).

        Raises:
            UsageError: the name is taken.
            AuthorError: `service` is not a service, but its class, say.
        """
        _check_service(service)
        name = name or service.name or type(service).__name__.lower()
        if name in self.services:
            raise UsageError(f"{self!r} already has a service named {name!r}; give another name")
        service.name = name
        service.application = self
        self.services[name] = service
        return service

    def listen(self, where: str | int | Address, service: Service) -> list[Port]:
        """Have `service` answer at `where`: ``[HOST:]PORT``, ``unix:PATH`` or a port number.

        A service that was not added yet is added. A port without a host means
        loopback, over IPv4 and IPv6. ``udp:`` before it means datagrams, which go to
        the service's `datagram_protocol`.

        Raises:
            UsageError: the address is invalid or taken, or the service has no protocol for it.
            AuthorError: `service` is not a service, but its class, say.
        """
        _check_service(service)
        addresses = (where,) if isinstance(where, Address) else parse_address(str(where))
        service.check_takes(addresses[0])
        if self.services.get(service.name) is not service:
            self.add_service(service)
        taken = {port.address for port in self.ports}
        for address in addresses:
            if address in taken and (address.is_unix or address.port):
                raise UsageError(f"{self!r} already listens on {address}")
        ports = [Port(address, service) for address in addresses]
        self.ports.extend(ports)
        return ports

    def listen_tcp(self, port: int, factory: Service, host: str = "") -> list[Port]:
        """Listen on a TCP port, as ``listenTCP`` of early Twisted did."""
        return self.listen(Address(host, port) if host else port, factory)

    def connect(self, where: str, service: Service, protocol: Protocol | None = None) -> Connector:
        """Maintain a connection to ``HOST:PORT`` or ``unix:PATH``, with protocols of `service`.

        It reconnects whenever the connection is lost. With `protocol`, it makes one attempt
        at one connection for this protocol, and never reconnects. If that fails, it calls the
        protocol's `connection_failed`.

        Raises:
            UsageError: `where` is neither.
            AuthorError: `service` is not a service, but its class, say.
        """
        _check_service(service)
        if self.services.get(service.name) is not service:
            self.add_service(service)
        path = where[len("unix:") :] if where.startswith("unix:") else ""
        host, _, port = where.rpartition(":")
        if not path and not (host and port.isascii() and port.isdigit()):
            raise UsageError(f"can't connect to {where!r}: write HOST:PORT or unix:/PATH")
        connector = Connector(
            self, self.next_key(), service,
            *(("", 0, path) if path else (host.strip("[]"), int(port), "")),
            protocol,
        )  # fmt: skip
        self.connectors[connector.key] = connector
        if self.running:
            connector.connect()
        return connector

    def call_later(self, delay_s: float, function: Callable[..., object], *args: Any) -> Timer:
        """Call ``function(*args)`` once, in `delay_s` seconds, in this process or a later one.

        Raises:
            AuthorError: `delay_s` is not a number (NaN), so it would never be due; or
                `function` can't be called by a turn.
        """
        check_callback("call_later", function)
        delay_s = float(delay_s)
        if math.isnan(delay_s):
            raise AuthorError(f"call_later: {delay_s} is no delay; give seconds")
        runtime = self._v_runtime
        now_s = time.time() if runtime is None else runtime.now_s()
        timer = Timer(self, self.next_key(), now_s + delay_s, function, args)
        self.delayeds[timer.key] = timer
        if runtime is not None:
            runtime.timer_added(timer)
        return timer

    def run_blocking(
        self, function: Callable[..., Any], *args: Any, then: Callable[[Any, Any], None]
    ) -> None:
        """Call ``function(*args)`` in a thread, then ``then(result, error)`` in a turn.

        Only `then` may change state. The thread ends with the process: keep the request
        in an attribute, and repeat it in `Protocol.connection_resumed` or `Service.start`.

        Args:
            function: the slow call; it gets values and changes nothing of the application.
            args: for it.
            then: takes the result and None, or None and the exception.

        Raises:
            AuthorError: the application is not running.
        """
        self.runtime.run_blocking(function, args, then)

    def run_queued(
        self,
        function: Callable[..., Any],
        *args: Any,
        then: Callable[[Any, Any], None],
        client: Protocol,
    ) -> str:
        """Like `run_blocking`, for costly work that strangers can request, such as a password hash.

        A few jobs run at a time, and the clients' addresses take turns. Jobs of a client that
        is gone are dropped, and `then` is not called.

        Args:
            function: as for `run_blocking`, as are `args` and `then`.
            args: for it.
            then: takes the result and None, or None and the exception.
            client: the connection that requests it.

        Returns:
            "" if it was queued; else, in words for the client, that too much waits.

        Raises:
            AuthorError: the application is not running.
        """
        transport = client.transport
        group = group_of_peer(
            transport.get_extra_info("peername"), transport.get_extra_info("socket")
        )
        return self.runtime.run_in_queue(
            function, args, then, is_wanted=lambda: client.is_connected, group=group
        )

    def call_soon_threadsafe(self, function: Callable[..., object], *args: Any) -> None:
        """Call ``function(*args)`` in the next turn; the only thread-safe method here.

        Not durable: it ends with the process, as the thread does.

        Raises:
            AuthorError: the application is not running, or `function` can't be called by
                a turn.
        """
        check_callback("call_soon_threadsafe", function)
        self.runtime.call(functools.partial(function, *args))

    def run_coroutine(
        self, coroutine: Coroutine[Any, Any, Any], *, then: Callable[[Any, Any], None]
    ) -> Callable[[], None]:
        """Run `coroutine` beside the turns, then ``then(result, error)`` in a turn.

        Like `run_blocking`, in the event loop: it ends with the process.

        Returns:
            A function that cancels it.

        Raises:
            AuthorError: the application is not running.
        """
        return self.runtime.run_coroutine(coroutine, then)

    def run(self) -> None:
        """Serve in the foreground until SIGTERM or Ctrl-C, then save NAME-shutdown.tap.

        The host is a lower room, so this calls the package's own `run`.
        """
        import tapd  # noqa: PLC0415 - the front door is for users of the package, and for this

        tapd.run(self)


def _check_service(service: Any) -> None:
    if isinstance(service, Service):
        return
    if isinstance(service, type) and issubclass(service, Service):
        name = service.__qualname__
        raise AuthorError(f"{name} is a class of services; give one of them: {name}()")
    raise AuthorError(f"{service!r} is not a service; derive its class from tapd.Service")


def check_name(name: str) -> None:
    """Check that `name` can be a file name and a unit's instance name.

    Raises:
        UsageError: it can't; the message says why.
    """
    if not _NAME.match(name) or len(name) > 64:
        raise UsageError(
            f"name {name!r}: use 1 to 64 letters, digits and _ . @ + -, "
            "beginning with a letter, a digit or _"
        )
    if name.endswith("-shutdown"):
        raise UsageError(f"name {name!r}: names don't end in -shutdown: that is a saved TAP's name")
