"""A counter, beside an object whose loading kills the process where DIE_AT_LOAD is set."""

from __future__ import annotations

import os
import signal
from typing import Any

from storm_service import make_application as make_storm

from tapd.model.application import Application
from tapd.model.persistent import Persistent


class Deadly(Persistent):
    """Kills who loads it."""

    def __init__(self) -> None:
        self.size = 1

    def __setstate__(self, state: Any) -> None:
        if "DIE_AT_LOAD" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        super().__setstate__(state)


def make_application(name: str, *addresses: str) -> Application:
    """Return the application, answering at `addresses`."""
    application = make_storm(name, *addresses)
    service = next(iter(application.services.values()))
    service.deadly = [Deadly(), Deadly()]
    return application
