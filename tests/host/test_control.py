"""The control socket: access control, broken clients, and restarts."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from by_hand import Server, free_port, wait_for

from tapd.host.control import connect_control, control_path
from tapd.model.application import Application
from tapd.services.telnet import ShellFactory


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A telnet server, running."""
    application = Application("telnet")
    application.authorizer.add_account("admin", "woohoo")
    application.listen(f"127.0.0.1:{free_port()}", ShellFactory())
    server = Server(tmp_path, application)
    server.start()
    yield server
    server.end()


def path_of(server: Server) -> Path:
    return server.tap.parent / "telnet.d" / "control"


class Asker:
    """Somebody at the control socket."""

    def __init__(self, server: Server) -> None:
        wait_for(path_of(server).exists, "control socket")
        self.sock = connect_control(path_of(server))  # what has its name listens
        self.sock.settimeout(120)
        self.file = self.sock.makefile("rwb")

    def send(self, raw: bytes) -> None:
        self.file.write(raw)
        self.file.flush()

    def receive(self) -> Any:
        return json.loads(self.file.readline())

    def ask(self, **request: Any) -> Any:
        self.send(json.dumps(request).encode() + b"\n")
        return self.receive()

    def close(self) -> None:
        self.file.close()
        self.sock.close()


@pytest.fixture
def asker(server: Server) -> Iterator[Asker]:
    asker = Asker(server)
    yield asker
    asker.close()


def test_the_path_is_the_runtime_directory_or_beside_the_journals() -> None:
    beside = Path("/srv/telnet.d")
    assert control_path({}, beside) == beside / "control"
    run = {"RUNTIME_DIRECTORY": "/run/tapd/telnet:/run/more"}
    assert control_path(run, beside) == Path("/run/tapd/telnet/control")


def test_it_is_the_owners_only(server: Server, asker: Asker) -> None:
    status = path_of(server).stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert asker.ask(request="status")["ok"]["name"] == "telnet"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: another user is refused; needs root")
def test_another_user_is_refused_even_where_the_mode_lets_it_in(server: Server) -> None:
    wait_for(path_of(server).exists, "control socket")
    path_of(server).chmod(0o666)
    path_of(server).parent.chmod(0o711)
    script = (
        "import os, socket, sys\n"
        "os.chdir(sys.argv[1])\n"  # the directories above keep others out already
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.connect('control')\n"
        "print(s.makefile().read())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path_of(server).parent)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["error"] == "NotAllowed"
    assert '"ok"' not in done.stdout
    assert "refused uid 65534" in server.log()


@pytest.mark.parametrize(
    "raw",
    [
        b"\n",
        b"rubbish\n",
        b"[1]\n",
        b'{"request": ["status"]}\n',
        b'{"request": "nothing"}\n',
        b'{"request": "set"}\n',
        b'{"request": "set", "assignments": [1]}\n',
        b'{"request": "set", "assignments": [{"option": "tries"}]}\n',
        b"\xff\xfe\n",
    ],
)
def test_rubbish_gets_an_error_and_the_connection_goes_on(asker: Asker, raw: bytes) -> None:
    asker.send(raw)
    assert asker.receive()["error"] == "UsageError"
    assert asker.ask(request="status")["ok"]["state"] == "running"


def test_a_request_in_pieces_and_several_at_once(asker: Asker) -> None:
    for piece in (b'{"requ', b'est": "status"}\n{"request"', b': "settings"}\n'):
        asker.send(piece)
    assert "state" in asker.receive()["ok"]
    assert "settings" in asker.receive()["ok"]


def test_the_socket_is_made_anew_by_each_process(server: Server, asker: Asker) -> None:
    before = server.child()
    assert "ok" in asker.ask(request="status")
    server.kill()
    assert asker.file.readline() == b"", "the guardian must not carry a control connection over"
    wait_for(lambda: server.child() not in (None, before), "restarted server")
    wait_for(lambda: server.log().count(" answers on ") > 1, "answering server")

    def answers() -> bool:
        try:
            again = Asker(server)
        except ConnectionRefusedError:  # the old socket is still there
            return False
        assert again.ask(request="status")["ok"]["pid"] == server.child()
        again.close()
        return True

    wait_for(answers, "control socket of the new process")
    assert server.stop() == 0
    assert not path_of(server).exists()


def test_clients_are_not_disturbed_by_what_happens_here(server: Server) -> None:
    port = int(server.log().split(" answers on ")[1].split()[0].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        assert client.recv(100)
        wait_for(lambda: connections(server) == 1, "client")
        for _ in range(20):
            asker = Asker(server)
            asker.ask(request="shell")
            asker.send(b'{"line": "import asyncio; await asyncio.sleep(60)"}\n')
            asker.close()
        wait_for(lambda: server.log().count("a shell was closed") == 20, "end of the shells")
        assert connections(server) == 1


def connections(server: Server) -> int:
    asker = Asker(server)
    count: int = asker.ask(request="status")["ok"]["connections"]
    asker.close()
    return count


def test_a_place_that_is_taken_costs_a_warning_only(server: Server) -> None:
    server.stop()
    path_of(server).mkdir()
    server.start()
    wait_for(lambda: "the control socket can't be made" in server.log(), "warning")
    path_of(server).rmdir()
    wait_for(lambda: "the control socket is there now" in server.log(), "another try")
    assert server.can_be_asked()
    assert server.log().count("the control socket can't be made") == 1
    assert server.stop() == 0


def test_a_shell_is_audited(server: Server, asker: Asker) -> None:
    assert asker.ask(request="shell")["ok"] == {"name": "telnet"}
    asker.send(b'{"line": "1 +"}\n')
    assert "SyntaxError" in asker.receive()["output"]
    assert asker.receive()["prompt"] == ">>> "
    assert asker.ask(line="x = 1") == {"prompt": ">>> ", "failed": True}
    assert asker.ask(nothing=1)["error"] == "UsageError"
    assert asker.ask(complete="applicat") == {"completions": ["application"]}
    some = asker.ask(complete="application.service")["completions"]
    assert some == ["application.services"]
    assert len(asker.ask(complete="application.add")["completions"]) >= 1
    assert asker.ask(complete="nonsense.x") == {"completions": []}
    assert asker.ask(line="raise SystemExit") == {"bye": True, "failed": True}
    who = f"uid {os.getuid()}, process {os.getpid()}"
    wait_for(lambda: f"a shell was closed by {who}" in server.log(), "audit")
    assert f"a shell was opened by {who}" in server.log()


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    from tapd.host.control import _bind_control

    path = tmp_path / ("d" * 120) / "control"
    path.parent.mkdir()
    with _bind_control(path), connect_control(path):
        assert path.is_socket()


@pytest.mark.parametrize("passes", range(6))
def test_nothing_is_left_however_early_it_is_cancelled(tmp_path: Path, passes: int) -> None:
    from tapd.host.control import Control

    async def serve_and_stop() -> None:
        task = asyncio.create_task(Control(tmp_path / "control", turn, host).serve())
        for _ in range(passes):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    turn: Any = None  # it is never asked
    host: Any = None
    asyncio.run(serve_and_stop())
    assert not (tmp_path / "control").exists()
