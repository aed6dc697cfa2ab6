"""``tapd-mktap TYPE`` for a server that is there: change what was told, keep the rest.

A port, an option or an account that was given is changed; the server's state stays,
and so does every line that people wrote into its drop-ins. A TAP that sleeps is
changed under its lock; a running server changes itself, in a turn. Nothing that
could cost a connection or a moment's service is done without ``--now``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from tapd.cli.client import Call, call_server
from tapd.cli.mktap.clashes import Clash, find_clashes, refuse_taken, warn_of
from tapd.cli.mktap.dropins import UnitOptions, changed_texts, plan_drop_ins, write_texts
from tapd.cli.mktap.plan import FOR_UNITS, Machine, Plan, opened_tap, start_now
from tapd.errors import StateLocked, UsageError
from tapd.host.change import Change, kind_of
from tapd.model.address import Address, parse_address
from tapd.model.service import Service
from tapd.store.snapshot import SaveReport
from tapd.units.instance import service_unit, socket_unit, typed_unit
from tapd.units.render import ports_drop_in_path

_OF_ACCOUNTS = frozenset({"user", "password", "password_file"})
_PATH = "path"  # of the type app


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What the command line says to change.

    Attributes:
        change: of the server itself.
        options: of its units.
        now: whether what clients notice may be done at once.
        dry_run: only say what would be done.
    """

    change: Change
    options: UnitOptions
    now: bool
    dry_run: bool


def make_change(
    service: Service,
    parameters: Iterable[click.Parameter],
    given: Mapping[str, Any],
    ports: tuple[str, ...],
) -> Change:
    """Return the change that the given options of a type ask for.

    Args:
        service: what the type made of them, in an application of its own.
        parameters: of the type.
        given: the values that were typed, by parameter name.
        ports: as typed.

    Raises:
        UsageError: an option can't be changed in a server that is made.
    """
    settings = {}
    for parameter in parameters:
        if parameter.name not in given or parameter.name in _OF_ACCOUNTS | {_PATH}:
            continue
        if isinstance(parameter, click.Argument):  # says what the server is; `kind` tells it
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
    generated = application.__dict__.get("_v_generated_password") is not None
    accounts = application.authorizer.accounts if _OF_ACCOUNTS & set(given) else {}
    return Change(
        kind_of(service),
        tuple(str(address) for port in ports for address in parse_address(port)) or None,
        settings,
        {name: account.password_hash for name, account in accounts.items()},
        only_new_accounts=generated,
        python_path=application.python_path if _PATH in given else (),
    )


def change_server(machine: Machine, plan: Plan, told: Told) -> None:
    """Make the change, and say what was done and what is left to do.

    Args:
        machine: where it is.
        plan: as for a new server of the name; says where its files are.
        told: what to change.

    Raises:
        TapdError: it can't be done; nothing was changed then.
    """
    told.options.check()
    if not plan.instance and not told.options.is_empty:
        raise UsageError(FOR_UNITS)
    call = call_server(plan.tap_path)
    if call is None:
        _change_sleeping(machine, plan, told)
        return
    with call:
        _change_running(machine, plan, told, call)


def _change_sleeping(machine: Machine, plan: Plan, told: Told) -> None:
    with opened_tap(plan.tap_path) as (state, restored):
        prepared = told.change.prepare(restored.application)
        texts = _texts(machine, plan, told, prepared.ports)
        clashes = _clashes(machine, plan, prepared.ports)
        if told.dry_run:
            _say_dry(prepared.said, texts)
            warn_of(clashes)
            return
        is_open = bool(plan.instance) and machine.is_active(socket_unit(plan.instance))
        opens = is_open and (prepared.changes_ports or _are_sockets(plan, machine, texts))
        if opens or told.now:
            refuse_taken(clashes)
        report: SaveReport | None = None
        if prepared.said:
            prepared.apply()
            report = state.resave(restored)
        write_texts(texts)
    if report is not None:
        for loss in report.losses:
            click.echo(f"tapd-mktap: not kept: {loss}", err=True)
    if plan.instance and texts:
        machine.run_systemctl("daemon-reload")
    if opens:
        # Nobody is connected: only the ports are open, and they are the old ones.
        machine.run_systemctl("restart", socket_unit(plan.instance))
    _say_done(plan, prepared.said, texts)
    if told.now:
        start_now(machine, plan.instance)
    elif plan.instance and not is_open:
        click.echo(f"{machine.typed_systemctl} start {typed_unit(plan.instance)}")
    elif not plan.instance:
        click.echo(f"tapd {plan.tap_path}")
    warn_of(clashes)


def _change_running(machine: Machine, plan: Plan, told: Told, call: Call) -> None:
    change = told.change.to_json()
    answer = call.ask("change", change=change, dry_run=True)
    texts = _texts(machine, plan, told, answer["ports"])
    clashes = _clashes(machine, plan, answer["ports"])
    if told.dry_run:
        _say_dry(answer["said"], texts)
        warn_of(clashes)
        return
    changes_sockets = answer["changes_ports"] or _are_sockets(plan, machine, texts)
    if changes_sockets and not (told.now and plan.instance):
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
    # From here to the restart the server has other ports than its sockets, so not for long.
    call.ask("change", change=change)
    _say_done(plan, answer["said"], texts)
    if changes_sockets:
        machine.run_systemctl("restart", socket_unit(plan.instance))
        # Whoever is connected keeps that; see the unit's Requires=.
        machine.run_systemctl("start", service_unit(plan.instance))
    elif texts and told.now:
        machine.run_systemctl("restart", service_unit(plan.instance))
    elif texts:
        click.echo(
            f"{machine.typed_systemctl} restart {typed_unit(plan.instance)}"
            "    # for it to have its units' new options; its connections stay"
        )


def _texts(machine: Machine, plan: Plan, told: Told, ports: list[str]) -> dict[Path, str]:
    """Return the drop-ins that change."""
    if not plan.instance:
        return {}
    addresses: list[Address] = [address for port in ports for address in parse_address(port)]
    return changed_texts(
        plan_drop_ins(
            plan.instance, addresses, told.options, machine.unit_directory, is_user=machine.is_user
        )
    )


def _clashes(machine: Machine, plan: Plan, ports: list[str]) -> list[Clash]:
    """Return which ports are not for this server alone."""
    if not plan.instance:
        return []
    addresses = [address for port in ports for address in parse_address(port)]
    return find_clashes(machine, plan.instance, addresses)


def _are_sockets(plan: Plan, machine: Machine, texts: dict[Path, str]) -> bool:
    """Whether the drop-in of the sockets is among those that change."""
    return (
        bool(plan.instance) and ports_drop_in_path(plan.instance, machine.unit_directory) in texts
    )


def _say_dry(said: list[str], texts: dict[Path, str]) -> None:
    for line in said:
        click.echo(f"# {line}")
    for path, text in texts.items():
        click.echo(f"\n# {path}\n{text}", nl=False)
    click.echo("\nNothing was changed.", err=True)


def _say_done(plan: Plan, said: list[str], texts: dict[Path, str]) -> None:
    if not said and not texts:
        click.echo(f"{plan.tap_path} is there, and there is nothing to change in it.")
        return
    if said:
        click.echo(f"Changed {plan.tap_path}: {'; '.join(said)}. All else stays.")
    for path in texts:
        click.echo(f"Changed {path}.")
