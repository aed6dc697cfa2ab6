"""The options of `tapd-mktap app`.

The only module of this package that imports click.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tapd.model.application import Application
from tapd.model.server_type import ServerType
from tapd.model.service import Service
from tapd.services.app.factory import (
    Target,
    code_directories,
    is_on_usual_path,
    make_from,
    parse_options,
    parse_target,
)


def make_app(application: Application, options: Mapping[str, Any]) -> Service | Application:
    """Import the author's module and call the factory in it.

    The directories of the modules that this imported are stored in the application, so that
    the server finds them, too; except those on every Python's path.

    Raises:
        UsageError: the factory, or an option of it, does not exist.
        AuthorError: the module can't be imported, or the factory fails.
    """
    target: Target = parse_target(options["factory"])
    arguments = parse_options(options["settings"])
    directories = [str(Path(directory).absolute()) for directory in options["path"] or (".",)]
    sys.path[:0] = [directory for directory in directories if directory not in sys.path]
    before = set(sys.modules)
    made = make_from(target, application, arguments)
    if isinstance(made, Service) and not made.name:
        made.name = type(made).__name__.lower()
    found = [
        str(directory)
        for directory in code_directories(target, before)
        if not is_on_usual_path(directory)
    ]
    holder = made if isinstance(made, Application) else application
    holder.python_path = tuple(dict.fromkeys((*holder.python_path, *found)))
    return made


def default_name(options: Mapping[str, Any]) -> str:
    """Return the name of a server from its factory: that of its module."""
    target = parse_target(options["factory"])
    return target.module.rpartition(".")[2]


app_type = ServerType(
    name="app",
    summary="A server of your own: MODULE:FACTORY names its Service or a function that gives it.",
    make=make_app,
    default_name=default_name,
    options=(
        click.Argument(["factory"], metavar="MODULE:FACTORY"),
        click.Option(
            ["-o", "--option", "settings"],
            multiple=True,
            metavar="KEY=VALUE",
            help="A parameter of the factory; may be given several times.",
        ),
        click.Option(
            ["--path"],
            multiple=True,
            metavar="DIR",
            type=click.Path(exists=True, file_okay=False),
            help="Where the module lies, if it is not installed; may be given several times. "
            "[default: the current directory]",
        ),
    ),
)
