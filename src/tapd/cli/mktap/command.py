"""``tapd-mktap TYPE [options]``: the command line.

Server types come from the entry points of the group ``tapd.types``; there is no other
list of them. All errors in a command line are printed at once, one per line; if there
is any, nothing is written.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click
from click.core import iter_params_for_processing

from tapd.cli.machine import Machine, find_machine, find_user_machine
from tapd.cli.mktap.make import make_tap
from tapd.cli.mktap.options import common_options, given_options, group_options, take_unit_options
from tapd.cli.mktap.problems import Problems, report_errors
from tapd.cli.mktap.remove import remove_server
from tapd.cli.mktap.request import Request
from tapd.cli.mktap.server_types import find_types, type_options
from tapd.errors import AuthorError, TapdError, UsageError
from tapd.model.server_type import ServerType

_HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}  # as tapd and tapctl have it


class TypeCommand(click.Command):
    """The command of one server type; reports all errors in its options at once."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse `args` into the context, as click does, but raise all errors together.

        Raises:
            ExceptionGroup: of all errors.
        """
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError:
            self._raise_all(ctx, words)
            raise

    def _raise_all(self, ctx: click.Context, words: list[str]) -> None:
        """Parse again, continuing after each error; click stops at the first."""
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
        """Return the command of one type, by name or alias."""
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
    """Handle the options that stand before a type."""
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
