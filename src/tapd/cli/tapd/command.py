"""``tapd FILE.tap``: run a TAP.

Started by systemd (which passes sockets or a notification socket), the process is the
daemon. Started by hand it becomes the embedded manager, which binds the ports and
runs this same command as its child, as systemd would.

A client may be waiting for the daemon to start, so each of the two roles imports
only what it needs.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import time
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import NoReturn

from tapd import events
from tapd.cli.tapd.arguments import Arguments, parse_plain
from tapd.errors import StartFailed, TapdError, TapMissing, UsageError
from tapd.host.options import DaemonOptions, parse_audit, parse_sync
from tapd.store.names import parse_tap_name, tap_name

_log = logging.getLogger("tapd")

RETRIED = {os.EX_IOERR: events.SAVE_FAILED, StartFailed.exit_status: events.START_FAILED}
"""Failures that the service manager retries, connections kept: the event, by exit status."""

RETRY_S = 1.0
"""Delay before a retry: of a server that could not start or could not write its state."""


def is_managed(environ: MutableMapping[str, str]) -> bool:
    """Whether a service manager (systemd, or the embedded one) started this process."""
    return "NOTIFY_SOCKET" in environ or environ.get("LISTEN_PID") == str(os.getpid())


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit with its status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parse_arguments(arguments)
    path = Path(options.tap)
    name = parse_tap_name(path.name).application
    from tapd.systemd.logs import configure_logging  # noqa: PLC0415 - not for --help

    configure_logging(name or "tapd")
    is_managed_here = is_managed(os.environ)
    try:
        if options.checkpoint <= 0:
            raise UsageError(f"--checkpoint {options.checkpoint}: write seconds above 0")
        if not 0 <= options.idle_exit < 1e9:
            raise UsageError(f"--idle-exit {options.idle_exit}: write seconds, or 0 for never")
        parse_sync(options.sync)
        parse_audit(options.audit)
        meant = path.with_name(tap_name(path.name))
        if not path.exists() and meant.exists():
            raise TapMissing(f"{path}: there is no such TAP; did you mean {meant}?")
        status = _serve(path, options) if is_managed_here else _manage(path, options, arguments)
    except TapdError as error:
        status = error.exit_status
        _log.critical("%s", error, extra=RETRIED.get(status, events.REFUSED)())
        if status in RETRIED and is_managed_here:
            time.sleep(RETRY_S)
    except KeyboardInterrupt:
        status = 130
    logging.shutdown()
    if sys.flags.inspect:  # PYTHONINSPECT: a prompt would follow, and replace the status
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # closed, or gone
                stream.flush()
        os._exit(status)
    sys.exit(status)


def parse_arguments(words: Sequence[str]) -> Arguments:
    """Parse the command line; on a usage error, --help or --version, exit as argparse does."""
    plain = parse_plain(words)
    if plain is not None:
        return plain
    from tapd.cli.tapd.usage import make_parser  # noqa: PLC0415 - argparse, seldom needed

    return Arguments(**vars(make_parser().parse_args(words)))


def _serve(path: Path, options: Arguments) -> int:
    # Imports make no garbage: collecting during them would find nothing and take a tenth
    # of the time to wake up. The daemon enables collection again.
    gc.disable()
    from tapd.host.daemon import Daemon  # noqa: PLC0415 - one role only

    return Daemon(
        DaemonOptions(
            path,
            sync=parse_sync(options.sync),
            checkpoint_s=options.checkpoint,
            idle_exit_s=options.idle_exit,
            audit_bytes=parse_audit(options.audit),
        ),
        os.environ,
    ).run()


def _manage(path: Path, options: Arguments, arguments: Sequence[str]) -> int:
    from tapd.host.manager.by_hand import manage  # noqa: PLC0415 - one role only
    from tapd.host.manager.manager import ManagerOptions  # noqa: PLC0415 - the same

    sockets = ManagerOptions(
        unix_mode=_parse_mode(options.socket_mode), unix_group=_find_group(options.socket_group)
    )
    return manage(path, [sys.executable, "-m", "tapd", *arguments], os.environ, sockets)


def _parse_mode(text: str) -> int:
    if not 0 < len(text) <= 4 or set(text) - set("01234567") or int(text, 8) > 0o777:
        raise UsageError(f"--socket-mode {text}: write three octal digits, such as 0660")
    return int(text, 8)


def _find_group(name: str | None) -> int:
    if name is None:
        return -1
    import grp  # noqa: PLC0415 - seldom

    try:
        return int(name) if name.isascii() and name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f"--socket-group {name}: there is no such group") from None
