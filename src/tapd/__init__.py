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

Every name here has its reference in its own docstring; ``tapd.testing`` is the kit
for authors' tests.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tapd.errors import (
        AuthorError,
        InputTooLong,
        PeerError,
        TapdError,
        UsageError,
    )
    from tapd.image.names import register_rename
    from tapd.model.accounts import Account, Authorizer, hash_password, verify_password
    from tapd.model.address import Address
    from tapd.model.application import Application, Port, Runtime
    from tapd.model.connector import Connector
    from tapd.model.datagram import DatagramProtocol, DatagramTransport
    from tapd.model.frames import FrameProtocol
    from tapd.model.hosted import AsyncioService
    from tapd.model.lines import LineProtocol
    from tapd.model.persistent import (
        Persistent,
        TrackedBytearray,
        TrackedDeque,
        TrackedDict,
        TrackedList,
        TrackedSet,
    )
    from tapd.model.protocol import Protocol, Transport
    from tapd.model.requests import FrameRequestProtocol, Later, RequestProtocol
    from tapd.model.server_type import ServerType
    from tapd.model.service import Service
    from tapd.model.setting import ACCOUNT_SETTINGS, Setting, choice_setting, number_setting
    from tapd.model.timer import Timer

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
    "Account": "tapd.model.accounts",
    "Address": "tapd.model.address",
    "Application": "tapd.model.application",
    "AsyncioService": "tapd.model.hosted",
    "AuthorError": "tapd.errors",
    "Authorizer": "tapd.model.accounts",
    "Connector": "tapd.model.connector",
    "DatagramProtocol": "tapd.model.datagram",
    "DatagramTransport": "tapd.model.datagram",
    "FrameProtocol": "tapd.model.frames",
    "FrameRequestProtocol": "tapd.model.requests",
    "InputTooLong": "tapd.errors",
    "Later": "tapd.model.requests",
    "LineProtocol": "tapd.model.lines",
    "PeerError": "tapd.errors",
    "Persistent": "tapd.model.persistent",
    "Port": "tapd.model.application",
    "Protocol": "tapd.model.protocol",
    "RequestProtocol": "tapd.model.requests",
    "Runtime": "tapd.model.application",
    "ServerType": "tapd.model.server_type",
    "Service": "tapd.model.service",
    "Setting": "tapd.model.setting",
    "TapdError": "tapd.errors",
    "Timer": "tapd.model.timer",
    "TrackedBytearray": "tapd.model.persistent",
    "TrackedDeque": "tapd.model.persistent",
    "TrackedDict": "tapd.model.persistent",
    "TrackedList": "tapd.model.persistent",
    "TrackedSet": "tapd.model.persistent",
    "Transport": "tapd.model.protocol",
    "UsageError": "tapd.errors",
    "choice_setting": "tapd.model.setting",
    "hash_password": "tapd.model.accounts",
    "number_setting": "tapd.model.setting",
    "register_rename": "tapd.image.names",
    "verify_password": "tapd.model.accounts",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
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
