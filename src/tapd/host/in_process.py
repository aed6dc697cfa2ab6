"""``application.run()``: serves from a Python script or prompt, without a manager.

The process binds the ports itself, and nobody restarts it. So promise 1 (clean stops) holds
here and promise 3 (kills) does not. For promise 3, run the TAP saved at the end with ``tapd
NAME-shutdown.tap``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import sys
from pathlib import Path

from tapd.errors import TapExists
from tapd.host import forks
from tapd.host.crash import end_unclean
from tapd.host.manager.binding import Bound, bind_all
from tapd.image.tracking.jar import Jar
from tapd.model.access.accounts import generate_password
from tapd.model.access.seal import Sealer
from tapd.model.application import Application
from tapd.net.turn.recovery import Resumed, begin_turns
from tapd.net.turn.turn import Turn
from tapd.store.files import Files, replace_file, writing
from tapd.store.journal.history import History
from tapd.store.key import load_key
from tapd.store.layout import Layout
from tapd.store.snapshot import take_snapshot
from tapd.store.tapfile import read_manifest
from tapd.systemd.inherited import match_ports
from tapd.systemd.vault import Vault


class NoJournal:
    """A journal that discards records: no process follows this one."""

    size = 0
    end = (0, 0)

    def append(self, payload: bytes) -> None:
        """Discard `payload`."""

    def sync(self) -> None:
        """Do nothing."""

    def take_back(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def run_application(application: Application) -> None:
    """Serve `application` until SIGTERM or Ctrl-C, then save NAME-shutdown.tap.

    Raises:
        AddressUnusable: a port can't be bound.
        TapExists: there are files of another application of this name.
        StateUnwritable: it could not be saved.
    """
    key = load_key()
    layout = Layout(Path.cwd() / f"{application.name}-shutdown.tap", key)
    _check_directory(application, layout)
    if not application.authorizer.accounts:
        password = generate_password()
        application.authorizer.add_account("admin", password)
        print(f"No accounts yet: log in as admin, password {password}")
    bound = bind_all([port.address for port in application.ports])
    try:
        with asyncio.Runner() as runner:
            runner.run(_serve(application, bound, Sealer(key.derive(b"seal"))))
    finally:
        for entry in bound:
            entry.close()
    print(f"Saving {application.name} application to {layout.shutdown_path.name}...", end=" ")
    sys.stdout.flush()
    generation = layout.newest_number() + 1
    with writing(layout.shutdown_path):
        snapshot = take_snapshot(application, generation, key, clean=True)
        replace_file(Files(), layout.shutdown_path, snapshot.chunks)
    print("Saved.")


def _check_directory(application: Application, layout: Layout) -> None:
    """Refuse to overwrite somebody else's files."""
    taken = [path for path in (layout.tap_path, layout.journal_directory) if os.path.lexists(path)]
    if not taken and os.path.lexists(layout.shutdown_path):
        with contextlib.suppress(Exception):
            if read_manifest(layout.shutdown_path, layout.key).lineage != application.lineage:
                aside = layout.shutdown_path.with_suffix(".tap.old")
                layout.shutdown_path.replace(aside)
                print(f"{layout.shutdown_path.name} of an earlier run is now {aside.name}")
        return
    if taken:
        raise TapExists(
            f"{taken[0]} belongs to an application of the same name: run it with "
            f"`tapd {layout.tap_path.name}`, or give this one another name or directory"
        )


async def _serve(application: Application, bound: list[Bound], sealer: Sealer) -> None:
    loop = asyncio.get_running_loop()
    jar = Jar()
    jar.adopt(application)
    turn = Turn(application, jar, Vault(None), sealer, loop)
    turn.commits.journal = NoJournal()
    turn.schedule.on_broken = functools.partial(end_unclean, what_next="nothing was saved")
    application.bind_runtime(turn.runtime)
    main_module = sys.modules["__main__"]
    had_application = hasattr(main_module, "application")
    if not had_application:
        main_module.application = application  # type: ignore[attr-defined]
    ports = {port.address: port for port in application.ports}
    copied = forks.Server()
    copied.serves_with(turn, loop)
    forks.protect(copied)
    pairs = match_ports(list(ports), [entry.listener for entry in bound])
    for address, sock in pairs:
        turn.serve(sock, ports[address])
    begin_turns(turn, Resumed(), History(), "")
    for service, port in {(ports[address].service, address.port) for address, _sock in pairs}:
        cls = type(service)
        print(f"{cls.__module__}.{cls.__qualname__} starting on {port}")
    sys.stdout.flush()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    turn.open()
    try:
        await stop.wait()
    finally:
        forks.end_copies()
        forks.protect_no_more()
        print("Starting Shutdown Sequence.")
        turn.stop_listening()
        print("Stopping main loop.")
        turn.finish()
        turn.close()
        application.bind_runtime(None)
        if not had_application:
            del main_module.application
        print("Main loop terminated.")
