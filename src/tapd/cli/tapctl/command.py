"""``tapctl``: the command line; each command is in a module of its own.

A TAP is named by its file, or by the name of an installed server (``telnet`` for
``/var/lib/tapd/telnet/telnet.tap``).
"""

from __future__ import annotations

import difflib
import errno
import importlib
import io
import os
import sys
from typing import Any, NoReturn

import click

from tapd.errors import NotAllowed, StateUnwritable, TapdError, UsageError
from tapd.version import __version__

_VERBS = {
    "audit": "checkpoint:audit",
    "checkpoint": "checkpoint:checkpoint",
    "diff": "show:diff",
    "du": "show:du",
    "export": "export:export",
    "history": "list:history",
    "import": "import_:import_file",
    "list": "list:list_taps",
    "reload": "checkpoint:reload_code",
    "reset": "reset:reset",
    "rollback": "rollback:rollback",
    "set": "set:set_options",
    "shell": "shell:shell",
    "show": "show:show",
    "status": "status:status",
    "trust": "trust:trust",
    "verify": "verify:verify",
}
"""Module and function of each command; a module is imported only when its command is used."""


def _refuse_usage(error: click.UsageError) -> NoReturn:
    """Print a usage error in one line, and exit."""
    message = " ".join(error.format_message().split()).removesuffix(".")
    path = error.ctx.command_path if error.ctx else "tapctl"
    click.echo(f"tapctl: {message}; see {path} --help", err=True)
    sys.exit(UsageError.exit_status)


class _Group(click.Group):
    """Finds commands by `_VERBS`; prints an error in one line and exits with its status."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the command; without a command, print the help."""
        if not args and not ctx.resilient_parsing:  # which completion is
            click.echo(ctx.get_help(), err=True)
            ctx.exit(UsageError.exit_status)
        return super().parse_args(ctx, args)

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name in _VERBS:
            module, _colon, name = _VERBS[cmd_name].partition(":")
            command: click.Command = getattr(
                importlib.import_module(f"tapd.cli.tapctl.{module}"), name
            )
            return command
        close = difflib.get_close_matches(cmd_name, _VERBS, n=1)
        if close and not cmd_name.startswith("-"):
            ctx.fail(f"there is no command {cmd_name!r}; did you mean {close[0]}?")
        return None

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the options before the command; exit with 64 for a wrong one."""
        try:
            return super().make_context(*args, **extra)
        except click.UsageError as error:
            _refuse_usage(error)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            _refuse_usage(error)
        except click.Abort:
            click.echo("tapctl: stopped; nothing was changed", err=True)
            ctx.exit(1)
        except TapdError as error:
            click.echo(f"tapctl: {error}", err=True)
            ctx.exit(error.exit_status)
        except PermissionError as error:
            click.echo(f"tapctl: {error.filename}: only its owner and root may do this", err=True)
            ctx.exit(NotAllowed.exit_status)
        except OSError as error:
            if error.errno == errno.EPIPE:  # head(1), or a closed pager: click handles it
                raise
            click.echo(f"tapctl: {error.filename or 'the output'}: {error.strerror}", err=True)
            ctx.exit(StateUnwritable.exit_status)
        except MemoryError:
            click.echo("tapctl: this takes more memory than there is", err=True)
            ctx.exit(os.EX_OSERR)  # not a status of tapd's own: it may pass


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tapctl")
def main() -> None:
    """Look at TAPs and after running servers.

    A TAP is named by its file, or by the name of an installed server.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a TAP may have letters that the locale lacks
        sys.stdout.reconfigure(errors="backslashreplace")
