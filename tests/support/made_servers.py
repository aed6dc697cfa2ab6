"""What a server type makes of a command line, without files or units."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.testing import CliRunner

from tapd.cli.mktap.server_types import prepare_given, type_options
from tapd.model import server_type as model
from tapd.model.application import Application
from tapd.model.server_type import ServerType
from tapd.model.service import Service


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """What was made.

    Attributes:
        application: with the service.
        service: what the type returned.
        welcome: what it says about it, with the notes.
        stderr: what it printed there.
    """

    application: Application
    service: Any
    welcome: str
    stderr: str


def make_server(
    server_type: ServerType,
    *arguments: str,
    port: str,
    application: Application | None = None,
    stdin: str = "",
) -> Made:
    """Have `server_type` make a server, as `tapd-mktap` does, in `application` or a new one.

    Raises:
        Exception: whatever the type raises.
        AssertionError: click refuses the arguments.
    """
    application = application or Application(server_type.name)
    made: list[Service] = []
    given: Mapping[str, Any] = {}
    notes: Sequence[str] = ()

    def callback(**options: Any) -> None:
        nonlocal given, notes
        given = options
        service = server_type.make(application, options)
        if isinstance(service, model.Made):
            service, notes = service.service, service.notes
        assert isinstance(service, Service)
        for apply in prepare_given(server_type, service, options):
            apply()
        application.listen(port, service)
        made.append(service)

    command = click.Command(server_type.name, params=type_options(server_type), callback=callback)
    result = CliRunner().invoke(command, list(arguments), input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert made, result.output
    welcome = server_type.welcome
    lines = [] if welcome is None else welcome(application, given)
    return Made(application, made[0], "\n".join([*lines, *notes]), result.stderr)
