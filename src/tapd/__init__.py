"""tapd: a systemd-native host for Python servers whose whole self is a file.

The public API, imported when first used::

    from tapd import Application
    from tapd.services.telnet import ShellFactory

    application = Application("telnet")
    application.listen_tcp(4040, ShellFactory())
    application.run()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["Application", "Persistent", "Protocol", "Service", "Transport"]

if TYPE_CHECKING:
    from tapd.model.application import Application
    from tapd.model.persistent import Persistent
    from tapd.model.protocol import Protocol, Transport
    from tapd.model.service import Service

_HOMES = {
    "Application": "tapd.model.application",
    "Persistent": "tapd.model.persistent",
    "Protocol": "tapd.model.protocol",
    "Service": "tapd.model.service",
    "Transport": "tapd.model.protocol",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tapd' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def run(application: Application) -> None:
    """Serve `application` in this process until SIGTERM or Ctrl-C; see `Application.run`."""
    from tapd.host.in_process import run_application  # noqa: PLC0415 - the host, on demand

    run_application(application)
