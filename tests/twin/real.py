"""A world for a few programs: a real server, killed with SIGKILL by hand.

The server's own process imports this module, too: `RealKeeper` is the service, and
what a program calls `v` is a global of that process. A save is an audit here, which
has to find no difference. Programs with timers and threads
are not for here: when those come is another matter in each run.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from by_hand import SUPPORT, Server, free_port, wait_for
from tests.twin.canon import render_graph
from tests.twin.under import UnderTapd
from tests.twin.worlds import APP, Entry

from tapd import Application, LineProtocol, Service

_ROOT = SUPPORT.parent.parent
_GRAPH = "graph"
_TAPCTL = (sys.executable, "-c", "from tapd.cli.tapctl.command import main; main()")


class _InServer(UnderTapd):
    """Runs statements in the server's process."""

    def define(self) -> None:
        """Add what statements call to the program's module."""
        self.names.update(self.helpers())

    def end_turn(self) -> None:
        """Do nothing."""

    def timers(self) -> list[Any]:
        """Return none."""
        raise NotImplementedError

    def happen(self, event: str) -> None:
        """Do nothing."""


_worlds: dict[str, _InServer] = {}


def _world_of(module_name: str) -> _InServer:
    world = _worlds.get(module_name)
    if world is None:
        world = _worlds[module_name] = _InServer(())
        world.names = vars(importlib.import_module(module_name))
        world.define()
    return world


class RealSpeaker(LineProtocol):
    """Runs the statements of a line."""

    service: RealKeeper
    line_bytes_max = 1 << 20

    def line_received(self, line: str) -> None:
        """Answer with what the statements answer, or with the graph."""
        app = self.service.app
        if line == _GRAPH:
            self.send_line(repr(render_graph(app)))
            return
        world = _world_of(self.service.module_name)
        world.names["app"] = app
        turn_names: dict[str, Any] = {}
        answers = [
            (text, answer)
            for text in ast.literal_eval(line)
            for answer in world.run_line(text, turn_names)
        ]
        self.send_line(repr(answers))


class RealKeeper(Service):
    """Holds a program's root.

    Attributes:
        app: that.
        module_name: of the program.
    """

    protocol = RealSpeaker

    def __init__(self, app: Any, module_name: str) -> None:
        self.app = app
        self.module_name = module_name


class UnderServer(UnderTapd):
    """Under `tapd FILE.tap`."""

    def begin(self) -> None:
        """Write the program's module, make its TAP, and start the server."""
        self._ends = contextlib.ExitStack()
        directory = Path(self._ends.enter_context(tempfile.TemporaryDirectory()))
        name = f"twin_program_{os.getpid()}_{self._module_name}"
        text = "from tests.twin.prelude import UNDER_TAPD\n\nglobals().update(UNDER_TAPD)\n"
        (directory / f"{name}.py").write_text("\n\n".join([text, APP, *self._classes]))
        sys.path.insert(0, str(directory))
        self._ends.callback(sys.path.remove, str(directory))
        module = importlib.import_module(name)
        self._ends.callback(sys.modules.pop, name)
        application = Application("twin")
        self._port = free_port()
        application.listen(f"127.0.0.1:{self._port}", RealKeeper(module.App(), name))
        self._server = Server(directory, application, python_path=f"{directory}:{_ROOT}")
        self._ends.callback(self._server.end)
        self._server.start()
        self._connect()

    def _connect(self) -> None:
        self._socket = self._ends.enter_context(
            socket.create_connection(("127.0.0.1", self._port), timeout=60)
        )
        self._reader = self._ends.enter_context(self._socket.makefile("rb"))

    def _ask(self, line: str) -> Any:
        self._socket.sendall(f"{line}\n".encode())
        answer = self._reader.readline()
        if not answer:
            raise ConnectionError(self._server.log()[-2000:])
        return ast.literal_eval(answer.decode())

    def run_turn(self, number: int, lines: tuple[str, ...]) -> list[Entry]:
        """Send the statements; return what their answers are."""
        return [
            Entry(number, f"answer of `{line}`", answer)
            for line, answer in self._ask(repr([*lines]))
        ]

    def end_turn(self) -> None:
        """Do nothing: the server does."""

    def timers(self) -> list[Any]:
        """Return none."""
        raise NotImplementedError

    def happen(self, event: str) -> None:
        """Do it to the server's process."""
        server = self._server
        if event == "kill":
            before = server.child()
            server.kill()
            wait_for(lambda: server.child() not in (before, None), "next process")
        elif event == "save":
            self._audit()
        elif event == "reload":
            before = server.child()
            server.restart()
            wait_for(lambda: server.child() not in (before, None), "next process")
        elif event == "stop":
            server.stop()
            server.start()
            self._connect()

    def _audit(self) -> None:
        """Save, and have the server say that a kill would have restored what memory holds."""
        done = subprocess.run(
            [*_TAPCTL, "audit", "twin"],
            env=self._server.environ, cwd=self._server.tap.parent,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(f"{done.stdout}{done.stderr}")

    def graph(self, number: int, what: str) -> list[Entry]:
        """Ask for the graph."""
        return [Entry(number, f"graph {what}", line) for line in self._ask(_GRAPH)]

    def close(self) -> None:
        """End the server."""
        self._ends.close()
