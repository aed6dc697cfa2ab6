"""A line service that shares its application with a telnet shell; see tests/services/app."""

from __future__ import annotations

from tapd import Application, LineProtocol, Service
from tapd.services.telnet import ShellFactory


class Customer(LineProtocol):
    """Each line is a number to be added; the answer is the sum."""

    service: Till

    def line_received(self, line: str) -> None:
        self.service.sum += int(line)
        self.send_line(f"{self.service.label} {self.service.sum}")


class Till(Service):
    """Adds up what all customers say; the shell may change what it is called."""

    protocol = Customer
    requires = ("shell",)

    def __init__(self) -> None:
        self.sum = 0
        self.label = "sum"
        self.opened_after: list[str] = []

    def start(self) -> None:
        self.opened_after.append(self.application.services["shell"].name)


def make_application(till_port: int, shell_port: int) -> Application:
    """Return the application of both."""
    application = Application("till")
    application.authorizer.add_account("admin", "woohoo")
    application.add_service(Till(), "till")
    application.listen(f"127.0.0.1:{till_port}", application.services["till"])
    application.add_service(ShellFactory(), "shell")
    application.listen(f"127.0.0.1:{shell_port}", application.services["shell"])
    return application
