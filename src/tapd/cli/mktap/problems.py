"""Gathers the errors of a `tapd-mktap` command line and prints them all at once."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import click

from tapd.errors import TapdError, UsageError


@dataclasses.dataclass(slots=True)
class Problems:
    """The errors found so far."""

    errors: list[Exception] = dataclasses.field(default_factory=list)

    @contextlib.contextmanager
    def gathered(self) -> Any:
        """Gather an error of the block; go on after it."""
        try:
            yield
        except (TapdError, click.UsageError, OSError) as error:
            self.errors.append(error)

    def raise_any(self) -> None:
        """Raise the errors together, if there are any.

        Raises:
            ExceptionGroup: of all the errors.
        """
        if self.errors:
            raise ExceptionGroup("the command line is wrong", self.errors)


def report_errors(*errors: Exception) -> int:
    """Print each error on stderr, in a line; return the exit status of the first."""
    statuses = []
    said: set[str] = set()
    for error in errors:
        if isinstance(error, click.ClickException):
            message, status = error.format_message(), UsageError.exit_status
        elif isinstance(error, TapdError):
            message, status = str(error), error.exit_status
        else:
            message, status = str(error), 74  # EX_IOERR: the rest are OSErrors
        statuses.append(status)
        if message not in said:  # one mistake may be found twice
            said.add(message)
            click.echo(f"tapd-mktap: {' '.join(message.split())}", err=True)
    return statuses[0]
