"""All that is wrong with a command of `tapd-mktap`: gathered, and said at once.

Imports `errors`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import click

from tapd.errors import TapdError, UsageError


@dataclasses.dataclass(slots=True)
class Problems:
    """Everything that is wrong, gathered so that it is said at once."""

    errors: list[Exception] = dataclasses.field(default_factory=list)

    @contextlib.contextmanager
    def gathered(self) -> Any:
        """Keep an error of the block for later."""
        try:
            yield
        except (TapdError, click.UsageError, OSError) as error:
            self.errors.append(error)

    def raise_any(self) -> None:
        """Raise what was gathered, if anything.

        Raises:
            ExceptionGroup: of all the errors.
        """
        if self.errors:
            raise ExceptionGroup("the command line is wrong", self.errors)


def report_errors(*errors: Exception) -> int:
    """Say each on stderr, a line each; return the exit status of the first."""
    statuses = []
    said: set[str] = set()
    for error in errors:
        if isinstance(error, click.ClickException):
            message, status = error.format_message(), UsageError.exit_status
        elif isinstance(error, TapdError):
            message, status = str(error), error.exit_status
        else:
            message, status = str(error), 74  # EX_IOERR: what is left are OSErrors
        statuses.append(status)
        if message not in said:  # one thing may be wrong for several reasons
            said.add(message)
            click.echo(f"tapd-mktap: {' '.join(message.split())}", err=True)
    return statuses[0]
