"""Finds the installed server types, and makes command-line options of their settings.

A setting that `tapctl set` can change is also an option of `tapd-mktap`, if its type
names it (`ServerType.settings`).
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from tapd.errors import UsageError
from tapd.model.server_type import ServerType
from tapd.model.service import Service
from tapd.model.setting import Setting

TYPES_GROUP = "tapd.types"


def find_types() -> tuple[dict[str, ServerType], dict[str, str]]:
    """Return the server types by name, and the errors of broken ones by entry point."""
    types: dict[str, ServerType] = {}
    broken: dict[str, str] = {}
    points = importlib.metadata.entry_points(group=TYPES_GROUP)
    for point in sorted(points, key=lambda point: point.name):
        try:
            server_type = point.load()
            if isinstance(server_type, ServerType):
                type_options(server_type)  # fails if a setting reads what its service lacks
        except Exception as error:  # another author's package: it may raise anything
            broken[point.name] = f"{point.value}: {type(error).__name__}: {error}"
            continue
        if isinstance(server_type, ServerType):
            types.setdefault(server_type.name, server_type)
        else:
            broken[point.name] = f"{point.value}: is no tapd.model.server_type.ServerType"
    return types, broken


def type_options(server_type: ServerType) -> list[click.Parameter]:
    """Return all options of `server_type`: its own, and one for each of its settings."""
    defaults = server_type.defaults()
    return [
        *server_type.options,
        *(
            _option(name, setting, setting.read(defaults) or "none")
            for name, setting in server_type.settings.items()
        ),
    ]


def _parameter(name: str) -> str:
    """Return the parameter name for the setting `name`; click's own would be lower case."""
    return name.replace("-", "_")


def _option(name: str, setting: Setting, default: str) -> click.Option:
    return click.Option(
        [f"--{name}", _parameter(name)],
        type=click.Choice(setting.choices) if setting.choices else None,
        metavar=None if setting.choices else setting.form,
        help=f"{setting.summary[:1].upper()}{setting.summary[1:]}. [default: {default}]",
    )


def prepare_given(
    server_type: ServerType, service: Service, options: Mapping[str, Any]
) -> Iterator[Callable[[], None]]:
    """Yield a function for each setting that `options` give, which applies it to `service`.

    Each raises `UsageError` where the value can't be used.
    """
    for name, setting in server_type.settings.items():
        value = options[_parameter(name)]
        if value is not None:
            yield functools.partial(_apply, name, setting, service, value)


def _apply(name: str, setting: Setting, service: Service, value: str) -> None:
    try:
        setting.prepare(service, value, "")()
    except UsageError as error:
        raise UsageError(f"--{name}: {error}") from error
