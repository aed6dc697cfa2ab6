"""``tapd-mktap TYPE`` for a server that exists: change what was given, keep the rest.

Given ports, options and accounts are changed; all other state stays, and so do the
lines that people added to the drop-ins. A stopped TAP is changed under its lock; a
running server changes itself, in a turn. Anything that could cost a connection or
interrupt service needs ``--now``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from tapd.cli.client import ControlClient, connect
from tapd.cli.machine import Machine
from tapd.cli.mktap.clashes import Clash, find_clashes, refuse_taken, warn_of
from tapd.cli.mktap.dropins import changed_texts, plan_drop_ins, write_texts
from tapd.cli.mktap.plan import FOR_UNITS, Plan, opened_tap, start_now
from tapd.cli.mktap.report import print_losses, print_start_command, print_texts
from tapd.cli.mktap.request import Request
from tapd.cli.mktap.server_types import type_options
from tapd.errors import StateLocked, UsageError
from tapd.host.change import Change, kind_of
from tapd.model.address import Address, parse_address
from tapd.model.server_type import Made
from tapd.model.service import Service
from tapd.store.snapshot import SaveReport
from tapd.units.instance import service_unit, socket_unit, typed_unit
from tapd.units.render import ports_drop_in_path

_OF_ACCOUNTS = frozenset({"user", "password", "password_file"})
_PATH = "path"  # an option of the type app


def make_change(
    made: Made[Service],
    parameters: Iterable[click.Parameter],
    given: Mapping[str, Any],
    ports: tuple[str, ...],
) -> Change:
    """Return the change that the typed options of a type ask for.

    Args:
        made: the result of the type, a service in an application of its own.
        parameters: of the type.
        given: the typed values, by parameter name.
        ports: as typed.

    Raises:
        UsageError: an option can't be changed in an existing server.
    """
    service = made.service
    settings = {}
    for parameter in parameters:
        if parameter.name not in given or parameter.name in _OF_ACCOUNTS | {_PATH}:
            continue
        if isinstance(parameter, click.Argument):  # says what the server is, as `kind` does
            continue
        option = max(parameter.opts, key=len).lstrip("-")
        setting = service.settable.get(option)
        if setting is None or setting.asks_for:
            raise UsageError(
                f"--{option} can't be changed in a server that is made already; leave it out, or "
                "give --force to make the TAP anew"
            )
        settings[option] = str(given[parameter.name])
    application = service.application
    accounts = application.authorizer.accounts if _OF_ACCOUNTS & set(given) else {}
    return Change(
        kind_of(service),
        tuple(str(address) for port in ports for address in parse_address(port)) or None,
        settings,
        {name: account.password_hash for name, account in accounts.items()},
        only_new_accounts=made.generated,
        python_path=application.python_path if _PATH in given else (),
    )


def change_server(request: Request, machine: Machine, plan: Plan, made: Made[Service]) -> None:
    """Make the change, and print what was done and what to type next.

    Args:
        request: what to change.
        machine: where it is.
        plan: as for a new server of the name; says where its files are.
        made: the result of the type, a service in an application of its own.

    Raises:
        TapdError: it can't be done; nothing was changed then.
    """
    change = make_change(
        made, type_options(request.server_type), request.given_to_type, request.ports
    )
    request.units.check()
    if not plan.instance and not request.units.is_empty:
        raise UsageError(FOR_UNITS)
    client = connect(plan.tap_path)
    if client is None:
        _change_stopped(request, machine, plan, change)
        return
    with client:
        _change_running(request, machine, plan, change, client)


def _change_stopped(request: Request, machine: Machine, plan: Plan, change: Change) -> None:
    """Change a server that does not run; its ports may be open."""
    with opened_tap(plan.tap_path) as (state, restored):
        prepared = change.prepare(restored.application)
        texts = _texts(request, machine, plan, prepared.ports)
        clashes = _clashes(machine, plan, prepared.ports)
        if request.dry_run:
            _print_dry_run(prepared.said, texts)
            warn_of(clashes)
            return
        is_open = bool(plan.instance) and machine.is_active(socket_unit(plan.instance))
        opens = is_open and (prepared.changes_ports or _are_sockets(plan, machine, texts))
        if opens or request.now:
            refuse_taken(clashes)
        report: SaveReport | None = None
        if prepared.said:
            prepared.apply()
            report = state.resave(restored)
        write_texts(texts)
    if report is not None:
        print_losses(report)
    if plan.instance and texts:
        machine.run_systemctl("daemon-reload")
    if opens:
        # Only the ports are open, and they are the old ones; nobody is connected.
        machine.run_systemctl("restart", socket_unit(plan.instance))
    _print_done(plan, prepared.said, texts)
    if request.now:
        start_now(machine, plan.instance)
    elif not is_open:
        print_start_command(machine, plan)
    warn_of(clashes)


def _change_running(
    request: Request, machine: Machine, plan: Plan, change: Change, client: ControlClient
) -> None:
    """Have a running server change itself; its units are changed here."""
    answer = client.ask("change", change=change.to_json(), dry_run=True)
    texts = _texts(request, machine, plan, answer["ports"])
    clashes = _clashes(machine, plan, answer["ports"])
    if request.dry_run:
        _print_dry_run(answer["said"], texts)
        warn_of(clashes)
        return
    changes_sockets = answer["changes_ports"] or _are_sockets(plan, machine, texts)
    if changes_sockets and not (request.now and plan.instance):
        raise StateLocked(
            f"{plan.application.name} runs, and its sockets change: "
            + (
                "give --now to have them opened anew at once (its connections stay)"
                if plan.instance
                else "stop it first"
            )
        )
    if changes_sockets:
        refuse_taken(clashes)
    write_texts(texts)
    if texts:
        machine.run_systemctl("daemon-reload")
    # From here to the restart the server's ports differ from its open sockets: nothing slow
    # may come between.
    client.ask("change", change=change.to_json())
    _print_done(plan, answer["said"], texts)
    if changes_sockets:
        machine.run_systemctl("restart", socket_unit(plan.instance))
        # Connections are kept; see the unit's Requires=.
        machine.run_systemctl("start", service_unit(plan.instance))
    elif texts and request.now:
        machine.run_systemctl("restart", service_unit(plan.instance))
    elif texts:
        click.echo(
            f"{machine.typed_systemctl} restart {typed_unit(plan.instance)}"
            "    # for it to have its units' new options; its connections stay"
        )


def _texts(request: Request, machine: Machine, plan: Plan, ports: list[str]) -> dict[Path, str]:
    """Return the drop-ins that change."""
    if not plan.instance:
        return {}
    addresses: list[Address] = [address for port in ports for address in parse_address(port)]
    return changed_texts(
        plan_drop_ins(
            plan.instance, addresses, request.units, machine.unit_directory, is_user=machine.is_user
        )
    )


def _clashes(machine: Machine, plan: Plan, ports: list[str]) -> list[Clash]:
    """Return the ports that this server can't have, or would have to share."""
    if not plan.instance:
        return []
    addresses = [address for port in ports for address in parse_address(port)]
    return find_clashes(machine, plan.instance, addresses)


def _are_sockets(plan: Plan, machine: Machine, texts: dict[Path, str]) -> bool:
    """Whether the drop-in of the sockets is among those that change."""
    return (
        bool(plan.instance) and ports_drop_in_path(plan.instance, machine.unit_directory) in texts
    )


def _print_dry_run(said: list[str], texts: dict[Path, str]) -> None:
    for line in said:
        click.echo(f"# {line}")
    print_texts(texts)
    click.echo("\nNothing was changed.", err=True)


def _print_done(plan: Plan, said: list[str], texts: dict[Path, str]) -> None:
    if not said and not texts:
        click.echo(f"{plan.tap_path} is there, and there is nothing to change in it.")
        return
    if said:
        click.echo(f"Changed {plan.tap_path}: {'; '.join(said)}. All else stays.")
    for path in texts:
        click.echo(f"Changed {path}.")
