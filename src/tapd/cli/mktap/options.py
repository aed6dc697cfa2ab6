"""Options of `tapd-mktap`: those that every server type has, and those of the command itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tapd.cli.mktap.dropins import UnitOptions
from tapd.model.server_type import ServerType
from tapd.units.render import SocketOptions
from tapd.units.service import ServiceOptions
from tapd.version import __version__

NONE = "none"
"""Given instead of a directory, it revokes all directories allowed before."""


def common_options(server_type: ServerType) -> list[click.Parameter]:
    """Return the options that every type has, with the defaults of `server_type`."""
    path = click.Path(path_type=Path)
    name = server_type.name if server_type.default_name is None else "as the type names it"
    ports = server_type.default_port or "none"
    return [
        click.Option(
            ["--name"], default="", help=f"Name of the server and its files. [default: {name}]"
        ),
        click.Option(
            ["-p", "--port", "ports"],
            multiple=True,
            metavar="[HOST:]PORT|unix:PATH",
            help="Where it listens; may be given several times. Without a host: on this machine "
            f"only (127.0.0.1 and ::1). [default: {ports}]",
        ),
        click.Option(
            ["--append"], type=path, metavar="TAP", help="Add the service to this TAP instead."
        ),
        click.Option(
            ["--directory"],
            type=path,
            metavar="DIR",
            help="Write the TAP there, to be run by hand. [default: as root on a machine with "
            "systemd, install it; else the current directory]",
        ),
        click.Option(["--now"], is_flag=True, help="Enable and start it at once."),
        click.Option(
            ["--dry-run"], is_flag=True, help="Print every file that would be written; write none."
        ),
        click.Option(["--force"], is_flag=True, help="Set an existing TAP aside."),
        *unit_options(),
    ]


def unit_options() -> list[click.Parameter]:
    """Return the options that go into drop-ins, for servers that systemd runs."""
    return [
        click.Option(
            ["--idle-exit"],
            type=float,
            metavar="SECONDS",
            help="Let it sleep (no process) after so long with nothing to do; a client or a timer "
            "wakes it. 0: never.",
        ),
        click.Option(
            ["--allow-network/--no-allow-network", "allow_network"],
            default=None,
            help="Let it open connections of its own.",
        ),
        click.Option(
            ["--allow-read"],
            multiple=True,
            metavar="DIR",
            help=f"Let it see this directory, too (home directories are hidden). {NONE}: no more.",
        ),
        click.Option(
            ["--allow-write"],
            multiple=True,
            metavar="DIR",
            help=f"Let it change this directory, too. {NONE}: no more.",
        ),
        click.Option(
            ["--memory-max"], metavar="BYTES", help=f"The most memory that it may use. {NONE}: all."
        ),
        click.Option(
            ["--socket-mode"],
            default="",
            metavar="MODE",
            help="Who may connect to its UNIX sockets, as chmod writes it (0660).",
        ),
        click.Option(
            ["--socket-group"], default="", metavar="GROUP", help="The group of its UNIX sockets."
        ),
    ]


UNIT_OPTIONS = frozenset(str(option.name) for option in unit_options())


def take_unit_options(values: dict[str, Any]) -> UnitOptions:
    """Remove the options of units from `values`, and return them."""
    taken = {name: values.pop(name) for name in UNIT_OPTIONS}
    return UnitOptions(
        ServiceOptions(
            idle_exit_s=taken["idle_exit"],
            network=taken["allow_network"],
            read=_directories(taken["allow_read"]),
            write=_directories(taken["allow_write"]),
            memory_max=taken["memory_max"],
        ),
        SocketOptions(taken["socket_mode"], taken["socket_group"]),
    )


def _directories(given: tuple[str, ...]) -> tuple[str, ...] | None:
    return tuple(path for path in given if path != NONE) if given else None


def given_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `values` that were typed or set in the environment: no defaults."""
    sources = click.core.ParameterSource
    context = click.get_current_context()
    return {
        name: value
        for name, value in values.items()
        if context.get_parameter_source(name) in (sources.COMMANDLINE, sources.ENVIRONMENT)
    }


def group_options() -> list[click.Parameter]:
    """Return the options of the command itself, before the type."""
    return [
        click.Option(
            ["--user"],
            is_flag=True,
            help="For your own service manager (systemctl --user): needs no root.",
        ),
        click.Option(
            ["--remove"],
            metavar="NAME",
            help="Stop the server NAME and remove its units. Its state stays.",
        ),
        click.Option(["--purge"], is_flag=True, help="With --remove: remove its state as well."),
        click.Option(["--yes"], is_flag=True, help="With --purge: don't ask."),
        version_option(),
    ]


def version_option() -> click.Option:
    """Return ``--version``; click's own looks up package metadata, which is slow."""

    def show(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            click.echo(f"tapd {__version__}")
            ctx.exit()

    return click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=show,
        help="Show the version.",
    )  # fmt: skip
