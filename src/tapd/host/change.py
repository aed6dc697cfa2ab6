"""A change by `tapd-mktap` to an existing server: ports, settings, accounts.

A value, created by the command. It is applied to the TAP of a stopped server, or sent to the
control socket of a running one and applied in one turn. The rest of the state stays as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

from tapd.errors import TapExists, UsageError
from tapd.model.address import Address, parse_address
from tapd.model.application import Application, Port
from tapd.model.service import Service
from tapd.model.setting import Assignment, prepare_settings


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One change of one service.

    Attributes:
        kind: the class of the service (`kind_of`).
        ports: its new ports, as `str` of addresses; None for no change.
        settings: ``OPTION: VALUE``, as `tapctl set` accepts them.
        accounts: password hashes, by user name.
        only_new_accounts: don't change existing accounts.
        python_path: the given directory of its code, which must be the current one.
    """

    kind: str
    ports: tuple[str, ...] | None = None
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    accounts: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    only_new_accounts: bool = False
    python_path: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Parse the result of `to_json`.

        Raises:
            UsageError: it is malformed.
        """
        try:
            ports = data["ports"]
            return cls(
                str(data["kind"]),
                None if ports is None else tuple(map(str, ports)),
                {str(option): str(value) for option, value in data["settings"].items()},
                {str(name): str(value) for name, value in data["accounts"].items()},
                bool(data["only_new_accounts"]),
                tuple(map(str, data.get("python_path", ()))),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"this is no change of a server: {error!r}") from error

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return dataclasses.asdict(self)

    def prepare(self, application: Application) -> Prepared:
        """Check it against `application`, without changing anything.

        Raises:
            UsageError: it is not possible.
        """
        service = self._find(application)
        for directory in self.python_path:
            if directory not in application.python_path:
                raise UsageError(
                    f"the code of {application!r} lies in "
                    f"{', '.join(application.python_path) or 'installed packages'}, and --path "
                    "can't be changed in a server that is made already; leave it out, or give "
                    "--force to make the TAP anew"
                )
        prefix = f"{service.name}." if len(application.services) > 1 else ""
        assignments = [
            Assignment(f"{prefix}{option}", value) for option, value in self.settings.items()
        ]
        steps: list[Callable[[], object]] = list(prepare_settings(application, assignments))
        said = [f"{option}={value} is set" for option, value in self.settings.items()]
        accounts = application.authorizer.accounts
        for name, password_hash in self.accounts.items():
            if name in accounts and self.only_new_accounts:
                continue
            said.append(f"{'the password' if name in accounts else 'an account'} of {name} is set")
            steps.append(_keep_account(application, name, password_hash))
        ports = None
        if self.ports is not None:
            ports = _new_ports(application, service, self.ports)
        if ports is not None:
            where = ", ".join(str(port.address) for port in ports if port.service is service)
            said.append(f"{service.name} answers on {where}")
            steps.append(lambda: _set_ports(application, ports))
        after = application.ports if ports is None else ports
        return Prepared(
            steps, said, [str(port.address) for port in after], changes_ports=ports is not None
        )

    def _find(self, application: Application) -> Service:
        """Return the only service of the kind.

        Raises:
            TapExists: there is none, so this is the TAP of another server.
            UsageError: there are several.
        """
        found = [each for each in application.services.values() if kind_of(each) == self.kind]
        if not found:
            raise TapExists(
                f"{application!r} is already there, and is a server of another type; give another "
                "--name, or --force to set its TAP aside"
            )
        if len(found) > 1:
            names = ", ".join(service.name for service in found)
            raise UsageError(
                f"{application!r} has several services of this type ({names}), so it is not clear "
                "which to change; tapctl set changes their settings, --force makes the TAP anew"
            )
        return found[0]


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A checked change.

    Attributes:
        steps: functions that each apply a part; in a turn, if the server runs.
        said: what changes, for people.
        ports: all addresses of the application afterwards.
        changes_ports: whether the sockets must change.
    """

    steps: list[Callable[[], object]]
    said: list[str]
    ports: list[str]
    changes_ports: bool

    def apply(self) -> None:
        """Apply the change."""
        for step in self.steps:
            step()


def kind_of(service: Service) -> str:
    """Return the name of the class of `service`."""
    return f"{type(service).__module__}.{type(service).__qualname__}"


def _keep_account(application: Application, name: str, password_hash: str) -> Callable[[], object]:
    return lambda: application.authorizer.keep_account(name, password_hash)


def _new_ports(
    application: Application, service: Service, texts: tuple[str, ...]
) -> list[Port] | None:
    """Return all ports of the application after the change; None if they stay the same."""
    wanted = [address for text in texts for address in parse_address(text)]
    others = [port for port in application.ports if port.service is not service]
    own = {port.address: port for port in application.ports if port.service is service}
    for address in wanted:
        service.check_takes(address)
        taken = next((port for port in others if port.address == address), None)
        if taken is not None:
            raise UsageError(
                f"{taken.service.name} of {application!r} listens on {address} already"
            )
    if list(own) == wanted:
        return None
    new = [own.get(address) or Port(address, service) for address in _without_doubles(wanted)]
    places = [index for index, port in enumerate(application.ports) if port.service is service]
    at = min(places, default=len(application.ports))
    return others[:at] + new + others[at:]


def _without_doubles(addresses: list[Address]) -> list[Address]:
    return list(dict.fromkeys(addresses))


def _set_ports(application: Application, ports: list[Port]) -> None:
    application.ports[:] = ports
