"""Makes outbound connections for connectors, stores them in the vault and begins them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from tapd.model.connector import Connector
from tapd.net.turn.connections import Connections
from tapd.net.turn.listener import prepare
from tapd.net.turn.trials import Trials

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 30.0


async def make_connection(connector: Connector) -> socket.socket:
    """Connect to the address of `connector`. The caller owns the socket.

    Raises:
        OSError: no address answered, or none in time.
    """
    loop = asyncio.get_running_loop()
    if connector.path:
        name = "\0" + connector.path[1:] if connector.path.startswith("@") else connector.path
        return await _connect(socket.AF_UNIX, name)
    infos = await loop.getaddrinfo(connector.host, connector.port, type=socket.SOCK_STREAM)
    failure: OSError = OSError(f"{connector.host} has no address")
    for family, _type, _protocol, _name, address in infos:
        try:
            return await _connect(family, address)
        except OSError as error:
            failure = error
    raise failure


async def _connect(family: int, address: object) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await asyncio.get_running_loop().sock_connect(sock, address)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise
    return sock


Run = Callable[[Coroutine[Any, Any, Any], Callable[[Any, Any], None]], object]
"""Runs a coroutine as a task, then ``done(result, error)`` in a turn."""


def begin_connecting(connections: Connections, connector: Connector, run: Run) -> None:
    """Make the connection of `connector`; its protocol begins in a later turn."""

    def done(sock: socket.socket | None, error: BaseException | None) -> None:
        connector.attempt_ended()
        if sock is None:
            _log.info("%r: %s", connector, error)
            connector.failed(error if isinstance(error, Exception) else None)
            return
        if not connector.is_wanted or connector.connection_key is not None:
            sock.close()
            return
        key = connections.application.next_key()
        protected = connections.keep(key, sock)
        if not connector.path:
            prepare(sock)
        connector.connected(key)
        service, protocol = connector.service, connector.protocol
        connections.begin(sock, service, key, protected=protected, protocol=protocol)
        if key not in connections.streams:
            connector.failed()

    run(make_connection(connector), done)


def resume_connectors(connections: Connections, trials: Trials) -> None:
    """Start those that have no connection and no timer: a kill interrupted them."""
    for connector in list(connections.application.connectors.values()):
        if connector.connection_key is not None:
            if connector.connection_key not in connections.streams:
                connector.lost()
        elif connector.timer is None or not connector.timer.is_pending:
            with trials.asking("connector", connector.key, connector.stop):
                connector.connect()
