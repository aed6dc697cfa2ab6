"""tapd: a systemd-native host for Python servers whose whole self is a file.

The public API, imported when first used. A server in fifteen lines
(``tapd-mktap app counter:Counter --port 9000``)::

    from tapd import LineProtocol, Service


    class Visitor(LineProtocol):
        service: "Counter"
        lines = 0

        def line_received(self, line: str) -> None:
            self.lines += 1
            self.service.lines += 1
            self.send_line(f"{line}: line {self.lines} of yours, {self.service.lines} of all")


    class Counter(Service):
        protocol = Visitor
        lines = 0

Each name here is documented in its own docstring; ``tapd.testing`` is the test kit for
authors of servers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapd.errors import (
        AuthorError,
        InputTooLong,
        PeerError,
        TapdError,
        UsageError,
    )
    from tapd.image.evolution.names import register_rename
    from tapd.model.access.accounts import Account, Authorizer, hash_password, verify_password
    from tapd.model.address import Address
    from tapd.model.application import Application, Port, Runtime
    from tapd.model.connector import Connector
    from tapd.model.datagram import DatagramProtocol, DatagramTransport
    from tapd.model.durable.persistent import Persistent
    from tapd.model.durable.tracked import (
        TrackedBytearray,
        TrackedDeque,
        TrackedDict,
        TrackedList,
        TrackedSet,
    )
    from tapd.model.hosted import AsyncioService
    from tapd.model.protocol import Protocol, Transport
    from tapd.model.protocols.frames import FrameProtocol
    from tapd.model.protocols.lines import LineProtocol
    from tapd.model.protocols.requests import FrameRequestProtocol, Later, RequestProtocol
    from tapd.model.server_type import Made, ServerType
    from tapd.model.service import Service
    from tapd.model.setting import ACCOUNT_SETTINGS, Setting, choice_setting, number_setting
    from tapd.model.timer import Timer
    from tapd.version import __version__ as __version__

__all__ = [
    "ACCOUNT_SETTINGS",
    "Account",
    "Address",
    "Application",
    "AsyncioService",
    "AuthorError",
    "Authorizer",
    "Connector",
    "DatagramProtocol",
    "DatagramTransport",
    "FrameProtocol",
    "FrameRequestProtocol",
    "InputTooLong",
    "Later",
    "LineProtocol",
    "Made",
    "PeerError",
    "Persistent",
    "Port",
    "Protocol",
    "RequestProtocol",
    "Runtime",
    "ServerType",
    "Service",
    "Setting",
    "TapdError",
    "Timer",
    "TrackedBytearray",
    "TrackedDeque",
    "TrackedDict",
    "TrackedList",
    "TrackedSet",
    "Transport",
    "UsageError",
    "choice_setting",
    "hash_password",
    "number_setting",
    "register_rename",
    "verify_password",
]

_HOMES = {
    "ACCOUNT_SETTINGS": "tapd.model.setting",
    "Account": "tapd.model.access.accounts",
    "Address": "tapd.model.address",
    "Application": "tapd.model.application",
    "AsyncioService": "tapd.model.hosted",
    "AuthorError": "tapd.errors",
    "Authorizer": "tapd.model.access.accounts",
    "Connector": "tapd.model.connector",
    "DatagramProtocol": "tapd.model.datagram",
    "DatagramTransport": "tapd.model.datagram",
    "FrameProtocol": "tapd.model.protocols.frames",
    "FrameRequestProtocol": "tapd.model.protocols.requests",
    "InputTooLong": "tapd.errors",
    "Later": "tapd.model.protocols.requests",
    "LineProtocol": "tapd.model.protocols.lines",
    "Made": "tapd.model.server_type",
    "PeerError": "tapd.errors",
    "Persistent": "tapd.model.durable.persistent",
    "Port": "tapd.model.application",
    "Protocol": "tapd.model.protocol",
    "RequestProtocol": "tapd.model.protocols.requests",
    "Runtime": "tapd.model.application",
    "ServerType": "tapd.model.server_type",
    "Service": "tapd.model.service",
    "Setting": "tapd.model.setting",
    "TapdError": "tapd.errors",
    "Timer": "tapd.model.timer",
    "TrackedBytearray": "tapd.model.durable.tracked",
    "TrackedDeque": "tapd.model.durable.tracked",
    "TrackedDict": "tapd.model.durable.tracked",
    "TrackedList": "tapd.model.durable.tracked",
    "TrackedSet": "tapd.model.durable.tracked",
    "Transport": "tapd.model.protocol",
    "UsageError": "tapd.errors",
    "choice_setting": "tapd.model.setting",
    "hash_password": "tapd.model.access.accounts",
    "number_setting": "tapd.model.setting",
    "register_rename": "tapd.image.evolution.names",
    "verify_password": "tapd.model.access.accounts",
}


def __getattr__(name: str) -> Any:
    home = "tapd.version" if name == "__version__" else _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tapd' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def run(application: Application) -> None:
    """Serve `application` in this process until SIGTERM or Ctrl-C; see `Application.run`."""
    from tapd.host.in_process import run_application  # noqa: PLC0415 - the host, on demand

    run_application(application)
