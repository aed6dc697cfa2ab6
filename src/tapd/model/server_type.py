"""Server types, as packages describe them to `tapd-mktap`.

A type is one value, found through the entry point group ``tapd.types``. So users add
types with a package of their own and no edit elsewhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from tapd.model.application import Application
from tapd.model.service import Service
from tapd.model.setting import Setting

Thing_co = TypeVar("Thing_co", bound=Service | Application, covariant=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Made(Generic[Thing_co]):
    """The result of a server type, with notes to show once, such as a new password.

    Attributes:
        service: the service, or an application of its own.
        notes: lines shown after those of `ServerType.welcome`, and stored nowhere.
        generated: the accounts' passwords were generated for a new server. If the server
            exists already, its accounts keep their passwords.
    """

    service: Thing_co
    notes: Sequence[str] = ()
    generated: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ServerType:
    """One server type.

    Attributes:
        name: as typed after ``tapd-mktap``.
        summary: one line for ``tapd-mktap --help``.
        options: its own `click.Parameter` objects, besides the common options.
        settings: settings of the service that are options, too; a given one is set in the
            result of `make`.
        defaults: returns a service whose settings have their default values.
        make: builds the service from the parsed options (by parameter name)
            and adds what else it needs (accounts, timers) to the application.
            It may raise `UsageError`. It may return an application of its own instead,
            or a `Made` of either, to show lines once.
        default_port: used when ``--port`` is not given; None makes it required.
        aliases: other names for it.
        welcome: lines that tell the person how to reach the new server, given
            the application and the parsed options.
        default_name: gives the server's name from the parsed options if ``--name``
            is not given; None: the type's name.
    """

    name: str
    summary: str
    make: Callable[
        [Application, Mapping[str, Any]], Service | Application | Made[Service | Application]
    ]
    options: Sequence[Any] = ()
    settings: Mapping[str, Setting] = dataclasses.field(default_factory=dict)
    defaults: Callable[[], Service] = Service
    default_port: str | None = None
    aliases: tuple[str, ...] = ()
    welcome: Callable[[Application, Mapping[str, Any]], Sequence[str]] | None = None
    default_name: Callable[[Mapping[str, Any]], str] | None = None

    def name_for(self, options: Mapping[str, Any]) -> str:
        """Return the name of a server made with `options` but without ``--name``."""
        return self.name if self.default_name is None else self.default_name(options)
