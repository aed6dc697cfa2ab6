"""The order in which services start and stop.

Pure: `net.turn.recovery` starts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tapd.errors import AuthorError
from tapd.model.protocol import Protocol
from tapd.model.service import Service

if TYPE_CHECKING:
    from tapd.model.application import Application


def check_classes(application: Application) -> None:
    """Check that the classes of all services and connections were found.

    The TAP keeps objects of a missing class as they are, but nobody could serve with such
    a service, and a connection without its class would be dropped.

    Raises:
        AuthorError: a class was not found.
    """
    missing: dict[str, None] = {}
    for base, objects in (
        (Service, application.services.values()),
        (Protocol, application.connections.values()),
    ):
        for obj in objects:
            is_unfit = base is Service and hasattr(type(obj), "broken_name")
            if is_unfit and isinstance(obj, base):
                raise AuthorError(
                    f"a service can't be started: {obj!r}; fix its class, or go back to the code "
                    "that saved it. Its state is kept"
                )
            if not isinstance(obj, base):
                missing[getattr(obj, "broken_name", type(obj).__qualname__)] = None
    if missing:
        where = ", ".join(application.python_path)
        raise AuthorError(
            f"no such class: {', '.join(missing)} (the log above says why); install its module "
            "for this Python" + (f" or put it back into {where}" if where else "")
        )


def start_order(application: Application) -> list[Service]:
    """Return the services in the order in which they start; they stop in reverse.

    That is the order of adding, but the services that one `requires` come before it.

    Raises:
        AuthorError: a required service does not exist, or requirements form a circle.
    """
    services = application.services
    order: dict[str, Service] = {}

    def visit(name: str, path: Sequence[str]) -> None:
        if name in order:
            return
        if name in path:
            circle = " -> ".join([*path[path.index(name) :], name])
            raise AuthorError(
                f"services require each other in a circle: {circle}; take one `requires` out"
            )
        for required in _requires(services[name]):
            if required not in services:
                import difflib  # noqa: PLC0415 - for an author's typing error only

                close = difflib.get_close_matches(required, services, n=1)
                hint = (
                    f"did you mean {close[0]!r}?" if close else f"there are {', '.join(services)}"
                )
                raise AuthorError(
                    f"the service {name!r} requires {required!r}, which was not added; {hint}"
                )
            visit(required, [*path, name])
        order[name] = services[name]

    for name in services:
        visit(name, [])
    return list(order.values())


def stop_order(application: Application) -> list[Service]:
    """Return the services in the order in which they stop; never raises."""
    try:
        return start_order(application)[::-1]
    except AuthorError:  # `requires` was changed since the start
        return list(application.services.values())[::-1]


def _requires(service: Service) -> Sequence[str]:
    requires = service.requires
    if isinstance(requires, str):
        raise AuthorError(
            f"{service!r}.requires is a text; write a tuple of names: ({requires!r},)"
        )
    return requires
