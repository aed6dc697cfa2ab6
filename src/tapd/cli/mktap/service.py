"""Makes the service of a server type, with its settings and ports, in an application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from tapd.cli.mktap.problems import Problems
from tapd.cli.mktap.request import Request
from tapd.cli.mktap.server_types import prepare_given
from tapd.errors import AuthorError, UsageError
from tapd.model.application import Application, check_name
from tapd.model.server_type import Made
from tapd.model.service import Service


def make_service(
    request: Request,
    application: Application,
    name: str,
    problems: Problems,
    *,
    has_ports: bool = False,
) -> tuple[Application, Made[Service] | None]:
    """Make the service, and have it listen on its ports.

    Args:
        request: the command line.
        application: that it is added to.
        name: of the service; "" for its own.
        problems: gets all that is wrong.
        has_ports: the server exists, and has its ports already.

    Returns:
        The application, which may be one that the type made, and the service with its notes.
    """
    service: Service | None = None
    notes: Sequence[str] = ()
    generated = False
    with problems.gathered():
        given = request.server_type.make(application, request.options)
        made = given.service if isinstance(given, Made) else given
        if isinstance(given, Made):
            notes, generated = given.notes, given.generated
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
    if not ports and not own and request.server_type.default_port is not None:
        ports = (request.server_type.default_port,)
    if not ports and not own and not has_ports:
        problems.errors.append(
            UsageError(
                f"--port is needed, such as --port 4040: the type {request.server_type.name} has "
                "no usual one"
            )
        )
    # Without a service, a stand-in listens: what is wrong with a port is named all the same.
    listener = service if service is not None and service.name else Service()
    for port in ports:
        with problems.gathered():
            application.listen(port, listener)
    if service is None:
        return application, None
    return application, Made(service, notes, generated=generated)


def _take_over(request: Request, application: Application, made: Application) -> Application:
    """Return `made`, which a type made instead of adding to `application`.

    Raises:
        UsageError: the service was to be added to an existing TAP.
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
    """Return the first service that was added: ``--port`` is for that one.

    Raises:
        AuthorError: there is none.
    """
    for service in application.services.values():
        return service
    raise AuthorError(f"{application!r} has no service; add one before you return it")
