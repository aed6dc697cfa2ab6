"""A server under the embedded manager whose module may be replaced while it runs."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

from by_hand import Server, free_port, wait_for

from tapd.model.application import Application
from tapd.services.app.factory import make_from, parse_target

MODULE = "reloaded_module"
TAPCTL = (sys.executable, "-c", "from tapd.cli.tapctl.command import main; main()")

VERSION_1 = """
from tapd import LineProtocol, Service


class Desk(LineProtocol):
    def connection_made(self, transport):
        self.service.seen += 1

    def line_received(self, line):
        self.service.count += 1
        self.send_line(f"one {self.service.count} {line}")


class Counting(Service):
    protocol = Desk

    def __init__(self):
        self.count = 0
        self.seen = 0
"""

VERSION_2 = VERSION_1.replace("one {self", "two {self").replace(
    "    def __init__(self):\n        self.count = 0",
    """    persistence_version = 2

    def upgrade_to_version_2(self):
        self.count += 100

    def __init__(self):
        self.count = 0""",
)


class Reloaded:
    """The server, and the module that it was made from."""

    def __init__(self, directory: Path) -> None:
        self.code = directory / "code"
        self.code.mkdir()
        self.install(VERSION_1)
        self.port = free_port()
        sys.path.insert(0, str(self.code))
        try:
            application = Application("counting")
            service = make_from(parse_target(f"{MODULE}:Counting"), application, {})
            assert not isinstance(service, Application)
            application.listen(f"127.0.0.1:{self.port}", service)
            # No PYTHONPATH tells the server where the module is: the TAP does.
            application.python_path = (str(self.code),)
            self.server = Server(directory, application)
        finally:
            sys.path.remove(str(self.code))
            sys.modules.pop(MODULE, None)

    def install(self, text: str) -> None:
        path = self.code / f"{MODULE}.py"
        new = path.with_suffix(".new")
        new.write_text(text)
        new.replace(path)

    def reload(self, said: str) -> None:
        """Send SIGHUP and wait until the log says `said` once more."""
        before = self.server.log().count(said)
        assert self.server.kill(signal.SIGHUP)
        wait_for(lambda: self.server.log().count(said) > before, f"{said!r} in the log")


class Client:
    """One connection, which must live through all of it."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.lines = self.sock.makefile("r", newline="\r\n")

    def ask(self, text: bytes) -> str:
        self.sock.sendall(text)
        return self.lines.readline().rstrip("\r\n")

    def close(self) -> None:
        self.lines.close()
        self.sock.close()


def tapctl(
    reloaded: Reloaded, *arguments: str, status: int = 0
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*TAPCTL, *arguments],
        env=reloaded.server.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, cwd=reloaded.server.tap.parent,
    )  # fmt: skip
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr
    return done
