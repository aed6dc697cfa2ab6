"""A counter, beside objects whose loading kills the process, or takes long.

DIE_AT_LOAD has it kill, SLEEP_AT_LOAD take so many seconds, after making BEGAN_AT_LOAD.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from storm_service import make_application as make_storm

from tapd.model.application import Application
from tapd.model.durable.persistent import Persistent


class Deadly(Persistent):
    """Kills who loads it, or takes its time."""

    def __init__(self) -> None:
        self.size = 1

    def __setstate__(self, state: Any) -> None:
        if "DIE_AT_LOAD" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        if "SLEEP_AT_LOAD" in os.environ:
            Path(os.environ["BEGAN_AT_LOAD"]).touch()
            time.sleep(float(os.environ["SLEEP_AT_LOAD"]))
        super().__setstate__(state)


def make_application(name: str, *addresses: str) -> Application:
    """Return the application, answering at `addresses`."""
    application = make_storm(name, *addresses)
    service = next(iter(application.services.values()))
    service.deadly = [Deadly(), Deadly()]
    return application
