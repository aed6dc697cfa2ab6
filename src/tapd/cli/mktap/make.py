"""Creates a server, or adds a service to one; delegates changes of an existing server.

All errors of a request are collected before anything is written.
"""

from __future__ import annotations

import os
from pathlib import Path

from tapd.cli.machine import Machine
from tapd.cli.mktap.change import change_server
from tapd.cli.mktap.clashes import find_clashes, taken, warn_of
from tapd.cli.mktap.dropins import UnitOptions
from tapd.cli.mktap.plan import (
    Plan,
    check_free,
    find_tap_path,
    opened_tap,
    plan_addition,
    plan_installation,
    write_addition,
    write_new,
)
from tapd.cli.mktap.problems import Problems
from tapd.cli.mktap.report import print_losses, print_made, print_plan
from tapd.cli.mktap.request import Request
from tapd.cli.mktap.service import make_service
from tapd.errors import UsageError
from tapd.model.application import Application, check_name
from tapd.model.server_type import Made
from tapd.model.service import Service
from tapd.units.instance import socket_unit


def make_tap(request: Request, machine: Machine) -> None:
    """Do what `request` asks for, print what was done and what to type next.

    Raises:
        ExceptionGroup: of everything that is wrong with the request.
        TapdError: it could not be done.
    """
    if request.append is not None:
        _add_service(request, machine, request.append)
        return
    problems = Problems()
    plan, made = _plan_new(request, machine, problems)
    if plan is not None and request.is_change(plan):
        _check_now(request, plan, problems)
        problems.raise_any()
        assert made is not None  # else there was a problem
        change_server(request, machine, plan, made)
    else:
        _make_new(request, machine, plan, made, problems)


def _plan_new(
    request: Request, machine: Machine, problems: Problems
) -> tuple[Plan | None, Made[Service] | None]:
    """Make the application in memory, and plan its files.

    Returns:
        None for the plan or for what was made where `problems` says what is wrong with it.
    """
    name = request.name
    with problems.gathered():
        name = name or request.server_type.name_for(request.options)
        check_name(name)
    # With a wrong name the rest is checked under the type's. Whether a server of that name
    # exists is of no interest then.
    is_named = not problems.errors
    application = Application(name if is_named else request.server_type.name)
    tap_path = find_tap_path(machine, application.name, request.directory)
    exists = not request.force and os.path.lexists(tap_path)
    application, made = make_service(request, application, "", problems, has_ports=exists)
    plan = None
    with problems.gathered():
        # Options of units that exist are merged with what their files say, in `change`.
        units = UnitOptions() if exists else request.units
        plan = plan_installation(machine, application, request.directory, units)
        if is_named and not request.is_change(plan):
            check_free(plan, force=request.force)
    return plan, made


def _make_new(
    request: Request,
    machine: Machine,
    plan: Plan | None,
    made: Made[Service] | None,
    problems: Problems,
) -> None:
    """Write a new server's files."""
    _check_now(request, plan, problems)
    clashes = []
    if plan is not None and plan.instance:
        clashes = find_clashes(machine, plan.instance, plan.addresses)
        if request.now:
            problems.errors += taken(clashes)
    problems.raise_any()
    assert plan is not None  # else there was a problem
    assert made is not None
    if request.dry_run:
        print_plan(plan)
    else:
        print_losses(write_new(machine, plan, force=request.force))
        print_made(request, machine, plan, made)
    warn_of(clashes)


def _add_service(request: Request, machine: Machine, path: Path) -> None:
    """Add a service to the TAP at `path`, whose server must not run."""
    problems = Problems()
    with opened_tap(path) as (state, restored):
        for flag, given in (("--directory", request.directory), ("--force", request.force)):
            if given:
                problems.errors.append(
                    UsageError(f"{flag} is for new TAPs; leave it out with --append")
                )
        _same, made = make_service(request, restored.application, request.name, problems)
        plan = None
        with problems.gathered():
            plan = plan_addition(machine, state, restored, request.units)
        _check_now(request, plan, problems)
        clashes = []
        reopens = False
        if plan is not None and plan.instance:
            clashes = find_clashes(machine, plan.instance, plan.addresses)
            # The server does not run, but its ports may be open: then the new ones open, too.
            reopens = machine.is_active(socket_unit(plan.instance))
            if request.now or reopens:
                problems.errors += taken(clashes)
        problems.raise_any()
        assert plan is not None  # else there was a problem
        assert made is not None
        if request.dry_run:
            print_plan(plan)
            warn_of(clashes)
            return
        report = write_addition(machine, plan, state, restored)
        if reopens:
            machine.run_systemctl("restart", socket_unit(plan.instance))
    print_losses(report)
    print_made(request, machine, plan, made)
    warn_of(clashes)


def _check_now(request: Request, plan: Plan | None, problems: Problems) -> None:
    """Refuse ``--now`` for a server that systemd does not run."""
    if request.now and plan is not None and not plan.instance:
        problems.errors.append(
            UsageError(
                "--now starts a server that systemd runs, which needs root, a machine that "
                "systemd booted and no --directory; without it, run the TAP with tapd"
            )
        )
