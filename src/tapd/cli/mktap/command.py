"""``tapd-mktap TYPE [options]``: make a TAP, and the unit files of its server.

Server types come from the entry points of the group ``tapd.types``; there is no
list of them here or anywhere. Everything that is wrong with a command line is
said at once, a line each; nothing is written before all of it is right.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import click
from click.core import iter_params_for_processing

from tapd.cli.mktap.change import Told, change_server, make_change
from tapd.cli.mktap.clashes import Clash, find_clashes, taken, warn_of
from tapd.cli.mktap.dropins import UnitOptions
from tapd.cli.mktap.options import common_options, given_options, group_options, take_unit_options
from tapd.cli.mktap.plan import (
    Machine,
    Plan,
    check_free,
    describe_addresses,
    find_machine,
    find_tap_path,
    find_user_machine,
    opened_tap,
    plan_addition,
    plan_installation,
    start_now,
    write_plan,
)
from tapd.cli.mktap.problems import Problems, report_errors
from tapd.cli.mktap.remove import remove_server
from tapd.cli.mktap.server_types import find_types, prepare_given, type_options
from tapd.errors import AuthorError, TapdError, UsageError
from tapd.model.application import Application, check_name
from tapd.model.server_type import Made, ServerType
from tapd.model.service import Service
from tapd.units.instance import socket_unit, typed_unit


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for.

    Attributes:
        server_type: of the new service.
        options: the type's own, by parameter name.
        name: of the application, or with `append` of the service; "" for the type's.
        ports: as typed.
        append: the TAP to add to.
        directory: where the TAP goes, instead of being installed.
        now: enable and start it.
        dry_run: print what would be written.
        force: set an existing TAP aside.
        given: all options that were typed, by parameter name.
        units: what was told of its units.
    """

    server_type: ServerType
    options: Mapping[str, Any]
    name: str = ""
    ports: tuple[str, ...] = ()
    append: Path | None = None
    directory: Path | None = None
    now: bool = False
    dry_run: bool = False
    force: bool = False
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    units: UnitOptions = dataclasses.field(default_factory=UnitOptions)

    def is_change(self, plan: Plan) -> bool:
        """Whether there is such a server, and something that it is to have otherwise."""
        if self.append is not None or self.force or not os.path.lexists(plan.tap_path):
            return False
        # After a removal its units are made anew.
        has_units = all(path.exists() for path in plan.texts)
        return not has_units or bool(set(self.given) - _SAYING_WHICH)


_SAYING_WHICH = frozenset({"name", "directory", "now", "dry_run"})


# --- making ---------------------------------------------------------------------


def make_tap(request: Request, machine: Machine) -> None:
    """Do what `request` asks for, and say what was done and what to type next.

    Raises:
        ExceptionGroup: of everything that is wrong with the request.
        TapdError: it could not be done.
    """
    problems = Problems()
    with contextlib.ExitStack() as held:
        if request.append is None:
            plan, made = _plan_new(request, machine, problems)
        else:
            with problems.gathered():
                opened = held.enter_context(opened_tap(request.append))
            problems.raise_any()
            plan, made = _plan_addition(request, machine, problems, *opened)
        if request.now and plan is not None and not plan.instance:
            problems.errors.append(
                UsageError(
                    "--now starts a server that systemd runs, which needs root, a machine that "
                    "systemd booted and no --directory; without it, run the TAP with tapd"
                )
            )
        clashes: list[Clash] = []
        reopens = False
        if plan is not None and plan.instance and not request.is_change(plan):
            clashes = find_clashes(machine, plan.instance, plan.addresses)
            # Its ports may be open though it does not run: they are to be the new ones.
            reopens = bool(request.append) and machine.is_active(socket_unit(plan.instance))
            if request.now or reopens:
                problems.errors += taken(clashes)
        problems.raise_any()
        assert plan is not None
        assert made is not None
        if request.is_change(plan):
            ports = request.ports
            change = make_change(
                made.service, type_options(request.server_type),
                {name: value for name, value in request.given.items() if name in request.options},
                ports,
            )  # fmt: skip
            told = Told(change, request.units, now=request.now, dry_run=request.dry_run)
            change_server(machine, plan, told)
            return
        if request.dry_run:
            _print_plan(plan)
            warn_of(clashes)
            return
        report = write_plan(machine, plan, force=request.force)
        if reopens:
            machine.run_systemctl("restart", socket_unit(plan.instance))
    for loss in report.losses:
        click.echo(f"tapd-mktap: not kept: {loss}", err=True)
    _print_made(request, machine, plan, made)
    warn_of(clashes)


def _plan_new(
    request: Request, machine: Machine, problems: Problems
) -> tuple[Plan | None, Made[Service] | None]:
    name = request.name
    with problems.gathered():
        name = name or request.server_type.name_for(request.options)
        check_name(name)
    # With a wrong name the rest is checked all the same, under another one; whether
    # that one is taken says nothing.
    is_named = not problems.errors
    application = Application(name if is_named else request.server_type.name)
    tap_path = find_tap_path(machine, application.name, request.directory)
    is_there = not request.force and os.path.lexists(tap_path)
    application, made = _add_service(request, application, "", problems, is_there=is_there)
    plan = None
    with problems.gathered():
        # What is told of units that are there is joined with what they say, see `rerun`.
        units = UnitOptions() if is_there else request.units
        plan = plan_installation(machine, application, request.directory, units)
        if is_named and not request.is_change(plan):
            check_free(plan, force=request.force)
    return plan, made


def _plan_addition(
    request: Request, machine: Machine, problems: Problems, *opened: Any
) -> tuple[Plan | None, Made[Service] | None]:
    state, restored = opened
    for flag, given in (("--directory", request.directory), ("--force", request.force)):
        if given:
            problems.errors.append(
                UsageError(f"{flag} is for new TAPs; leave it out with --append")
            )
    _same, made = _add_service(request, restored.application, request.name, problems)
    plan = None
    with problems.gathered():
        plan = plan_addition(machine, state, restored, request.units)
    return plan, made


def _add_service(
    request: Request,
    application: Application,
    name: str,
    problems: Problems,
    *,
    is_there: bool = False,
) -> tuple[Application, Made[Service] | None]:
    """Make the service with its ports; what is wrong goes to `problems`.

    A server that `is_there` has its ports already.

    Returns:
        The application, which may be one that the type made, and the service with its notes.
    """
    service: Service | None = None
    notes: Sequence[str] = ()
    with problems.gathered():
        given = request.server_type.make(application, request.options)
        made = given.service if isinstance(given, Made) else given
        notes = given.notes if isinstance(given, Made) else ()
        if isinstance(made, Application):
            application = _take_over(request, application, made)
            service = _main_service(application)
        else:
            service = cast("Service", made)
            if application.services.get(service.name) is not service:
                application.add_service(service, name or service.name or request.server_type.name)
        for apply in prepare_given(request.server_type, service, request.options):
            with problems.gathered():
                apply()
    ports = request.ports
    own = [port for port in application.ports if not request.append or port.service is service]
    is_served = bool(own)
    if not ports and not is_served and request.server_type.default_port is not None:
        ports = (request.server_type.default_port,)
    if not ports and not is_served and not is_there:
        problems.errors.append(
            UsageError(
                f"--port is needed, such as --port 4040: the type {request.server_type.name} has "
                "no usual one"
            )
        )
    # Ports are checked even where there is no service to listen on them.
    listener = service if service is not None and service.name else Service()
    for port in ports:
        with problems.gathered():
            application.listen(port, listener)
    return application, None if service is None else Made(service, notes)


def _take_over(request: Request, application: Application, made: Application) -> Application:
    """Return `made`, which a type made instead of adding to `application`.

    Raises:
        UsageError: it was to be added to.
    """
    if made is application:
        return made
    if request.append is not None:
        raise UsageError(
            f"{made!r} is an application of its own, and --append adds a service to another; "
            "have the factory take (application) and return a service"
        )
    if request.name:
        check_name(request.name)
        made.name = request.name
    return made


def _main_service(application: Application) -> Service:
    """Return the service that ``--port`` is for: the first that was added.

    Raises:
        AuthorError: there is none.
    """
    for service in application.services.values():
        return service
    raise AuthorError(f"{application!r} has no service; add one before you return it")


def _print_plan(plan: Plan) -> None:
    application = plan.application
    click.echo(f"# {plan.tap_path}")
    click.echo(f"# (a TAP: {application!r}, for its owner only)")
    for name, service in application.services.items():
        where = [port.address for port in application.ports if port.service is service]
        click.echo(f"#   {name}: {type(service).__qualname__} on {describe_addresses(where)}")
    for path, text in plan.texts.items():
        click.echo(f"\n# {path}\n{text}", nl=False)
    click.echo("\nNothing was written.", err=True)


def _describe_services(application: Application, services: list[Service]) -> str:
    told = []
    for service in services:
        where = [port.address for port in application.ports if port.service is service]
        told.append(f"{service.name} on {describe_addresses(where)}" if where else service.name)
    return "; ".join(told)


def _print_made(request: Request, machine: Machine, plan: Plan, made: Made[Service]) -> None:
    what = f"Added {made.service.name} to" if request.append else "Made"
    services = [made.service] if request.append else list(plan.application.services.values())
    click.echo(f"{what} {plan.tap_path}: {_describe_services(plan.application, services)}.")
    if request.server_type.welcome is not None:
        for line in request.server_type.welcome(plan.application, request.options):
            click.echo(line)
    for line in made.notes:
        click.echo(line)
    if request.now:
        start_now(machine, plan.instance)
        unit = typed_unit(plan.instance)
        click.echo(f"{machine.runs_on}; see {machine.typed_systemctl} status {unit}")
    elif plan.instance:
        click.echo(f"{machine.typed_systemctl} start {typed_unit(plan.instance)}")
    else:
        click.echo(f"tapd {plan.tap_path}")


# --- the command line -------------------------------------------------------------


_HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}  # as tapd and tapctl have it


class TypeCommand(click.Command):
    """The command of one server type; it finds all that is wrong with its options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse `args` into the context, as click does, but name every error in them.

        Raises:
            ExceptionGroup: of all that is wrong.
        """
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError:
            self._raise_all(ctx, words)
            raise

    def _raise_all(self, ctx: click.Context, words: list[str]) -> None:
        """Parse once more, going on after each error."""
        problems = Problems()
        trial = click.Context(
            self, parent=ctx.parent, info_name=ctx.info_name, ignore_unknown_options=True
        )
        values, rest, order = self.make_parser(trial).parse_args(args=words)
        for param in iter_params_for_processing(order, self.get_params(trial)):
            with problems.gathered():
                param.handle_parse_result(trial, values, [])
        unknown = [word.partition("=")[0] for word in rest if word.startswith("-")]
        for word in unknown:
            problems.errors.append(UsageError(f"there is no option {word}{self._hint(word)}"))
        if rest and not unknown:
            problems.errors.append(
                UsageError(f"{' '.join(rest)!r} is too much: every option has a name")
            )
        problems.raise_any()

    def _hint(self, word: str) -> str:
        known = [name for param in self.params for name in param.opts]
        close = difflib.get_close_matches(word, known, n=1)
        return f"; did you mean {close[0]}?" if close else "; see --help"


class TypeGroup(click.Group):
    """``tapd-mktap``: a command for each server type that is installed."""

    machine: Machine
    types: dict[str, ServerType]
    broken: dict[str, str]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what comes before the type."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.possibilities:
                raise
            name = error.option_name
            raise UsageError(
                f"there is no option {name} before the type; those of a type follow it: "
                f"tapd-mktap TYPE {name} ..."
            ) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the types."""
        return sorted(self.types)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of one type, found by its name or another of its names."""
        for server_type in self.types.values():
            if cmd_name in (server_type.name, *server_type.aliases):
                return type_command(server_type, self.machine)
        if cmd_name.startswith("-"):
            return None
        if cmd_name in self.broken:
            raise AuthorError(
                f"the type {cmd_name} can't be used: {self.broken[cmd_name]}; "
                "fix or remove the package that brings it"
            )
        close = difflib.get_close_matches(cmd_name, [*self.types, *self.broken], n=1)
        hint = f"did you mean {close[0]}?" if close else "tapd-mktap --help lists the types"
        raise UsageError(f"there is no server type {cmd_name!r}; {hint}")


def type_command(server_type: ServerType, machine: Machine) -> click.Command:
    """Return the command that makes servers of `server_type`."""
    type_params = type_options(server_type)
    own = {param.name for param in type_params}

    def callback(**values: Any) -> None:
        given = given_options(values)
        units = take_unit_options(values)
        options = {name: value for name, value in values.items() if name in own}
        rest = {name: value for name, value in values.items() if name not in own}
        here = click.get_current_context().find_object(Machine) or machine
        make_tap(Request(server_type, options, given=given, units=units, **rest), here)

    return TypeCommand(
        server_type.name,
        params=[*type_params, *common_options(server_type)],
        callback=callback,
        help=server_type.summary,
        short_help=f"{server_type.summary.partition(':')[0].rstrip('.')}.",
        context_settings=_HELP_OPTIONS,
    )


def command(machine: Machine) -> TypeGroup:
    """Return the whole command, for `machine`."""
    group = TypeGroup(
        "tapd-mktap",
        help="Make a TAP: a file that is a server's whole self. tapd-mktap TYPE --help lists the "
        "options of a type.",
        params=group_options(),
        callback=_begin,
        invoke_without_command=True,
        context_settings=_HELP_OPTIONS,
    )
    group.machine = machine
    group.types, group.broken = find_types()
    return group


@click.pass_context
def _begin(ctx: click.Context, *, user: bool, remove: str | None, purge: bool, yes: bool) -> None:
    """Do what stands before a type."""
    assert isinstance(ctx.command, TypeGroup)
    ctx.obj = find_user_machine() if user else ctx.command.machine
    if remove is None:
        if purge or yes:
            raise UsageError("--purge and --yes belong to --remove NAME")
        if ctx.invoked_subcommand is None:
            raise UsageError("name a server type; tapd-mktap --help lists them")
    elif ctx.invoked_subcommand is not None:
        raise UsageError(f"--remove {remove} stands alone; leave {ctx.invoked_subcommand} out")
    else:
        remove_server(ctx.obj, remove, purge=purge, yes=yes)


def run(argv: Sequence[str], machine: Machine) -> int:
    """Run the command and return its exit status; every error is a line on stderr."""
    try:
        # Without standalone mode click returns the status that ctx.exit was given.
        status = command(machine).main(
            list(argv) or ["--help"], prog_name="tapd-mktap", standalone_mode=False
        )
    except ExceptionGroup as group:
        return report_errors(*group.exceptions)
    except (TapdError, click.ClickException, OSError) as error:
        return report_errors(error)
    except (click.Abort, KeyboardInterrupt):
        click.echo("tapd-mktap: stopped; nothing was written", err=True)
        return 130
    return (status or 0) if argv else UsageError.exit_status


def main() -> NoReturn:
    """Run the command and exit with its status."""
    sys.exit(run(sys.argv[1:], find_machine()))
