"""tapctl and a running server: real processes, under the embedded manager."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from by_hand import Server, free_port, wait_for
from telnet_terminal import TelnetTerminal

from tapd.cli.output import render_time
from tapd.host.asleep import save_sleep
from tapd.model.access.accounts import verify_password
from tapd.model.application import Application
from tapd.services.telnet import ShellFactory
from tapd.store.generations import Store

TAPCTL = (sys.executable, "-c", "from tapd.cli.tapctl.command import main; main()")


def make_server(directory: Path) -> Server:
    application = Application("telnet")
    application.authorizer.add_account("admin", "woohoo")
    application.listen(f"127.0.0.1:{free_port()}", ShellFactory())
    return Server(directory, application)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A telnet server, running."""
    server = make_server(tmp_path)
    server.start()
    wait_for(server.can_be_asked, "control socket")
    yield server
    server.end()


def tapctl(
    server: Server, *arguments: str, stdin: str = "", status: int = 0
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*TAPCTL, *arguments],
        env=server.environ, input=stdin, capture_output=True, text=True, check=False,
        cwd=server.tap.parent,
    )  # fmt: skip
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr
    return done


def tapctl_json(server: Server, *arguments: str, stdin: str = "") -> Any:
    return json.loads(tapctl(server, *arguments, "--json", stdin=stdin).stdout)


@contextlib.contextmanager
def terminal(
    server: Server, *arguments: str, program: tuple[str, ...] = TAPCTL
) -> Iterator[TelnetTerminal]:
    near, far = pty.openpty()
    process = subprocess.Popen(
        # setsid: it is the terminal's own, so that C-c is a signal.
        ["setsid", "-c", *program, *arguments],
        env={**server.environ, "TERM": "xterm"}, cwd=server.tap.parent,
        stdin=far, stdout=far, stderr=far,
    )  # fmt: skip
    os.close(far)
    try:
        yield TelnetTerminal(near)
    finally:
        process.kill()
        process.wait()
        os.close(near)


def saved(server: Server) -> Application:
    return Store(server.tap, server.key).load().application


def test_status_of_a_running_and_a_stopped_server(server: Server) -> None:
    status = tapctl_json(server, "status", "telnet")
    assert (status["state"], status["pid"]) == ("running", server.child())
    assert (status["generation"], status["connections"], status["deaths"]) == (1, 0, 0)
    text = tapctl(server, "status", "telnet.tap").stdout
    assert text.startswith("telnet: running for ")
    assert f"(process {server.child()})" in text
    assert "\x1b" not in text
    assert "running" in tapctl(server, "list").stdout
    server.stop()
    assert not (server.tap.parent / "telnet.d" / "control").exists()
    assert tapctl_json(server, "status", "telnet")["state"] == "stopped"
    assert "telnet: stopped\n" in tapctl(server, "status", "telnet").stdout
    assert "stopped" in tapctl(server, "list").stdout
    for command in ("shell", "checkpoint"):
        assert "not running" in tapctl(server, command, "telnet", status=69).stderr


def test_checkpoint_waits_for_its_own_generation(server: Server) -> None:
    tapctl(server, "shell", "telnet", stdin="application.mark = 7\n")
    report = tapctl_json(server, "checkpoint", "telnet")
    assert saved(server).mark == 7
    assert Path(report["path"]).is_file()
    status = tapctl_json(server, "status", "telnet")
    assert (status["generation"], status["records_since"]) == (report["generation"], 0)
    assert "saved generation" in tapctl(server, "checkpoint", "telnet").stdout


def test_a_checkpoint_that_fails_says_so(server: Server) -> None:
    script = (
        "from tapd.store.generations import Store\n"
        "from tapd.errors import StateUnwritable\n"
        "def save(*_arguments, **_options): raise StateUnwritable('no room at all')\n"
        "Store.save = save\n"
    )
    tapctl(server, "shell", "telnet", stdin=script)
    assert "no room at all" in tapctl(server, "checkpoint", "telnet", status=74).stderr
    assert tapctl_json(server, "status", "telnet")["generation"] == 1


def test_a_script_runs_journaled_and_stops_at_its_first_error(server: Server) -> None:
    script = "def double(n):\n    return n * 2\nx = double(21)\nprint(application, x)\n"
    assert tapctl(server, "shell", "telnet", stdin=script).stdout == "<telnet app> 42\n"
    failing = "x = 5\n1 / 0\nx = 6\n"
    assert "ZeroDivisionError" in tapctl(server, "shell", "telnet", stdin=failing, status=1).stdout
    assert "SyntaxError" in tapctl(server, "shell", "telnet", stdin="x = 7\n)", status=1).stdout
    server.kill_and_go_on()
    told = tapctl(server, "shell", "telnet", stdin="print(x, double(x))\n").stdout
    assert told == "5 10\n"


def test_what_is_awaited_is_waited_for(server: Server) -> None:
    script = "import asyncio\nawait asyncio.sleep(0.05)\nprint('woke')\nraise SystemExit\n"
    assert tapctl(server, "shell", "telnet", stdin=script).stdout == "woke\n"


def test_code_that_kills_is_not_applied(server: Server) -> None:
    before = server.child()
    killing = "y = 1\nimport os; os._exit(1)\n"
    error = tapctl(server, "shell", "telnet", stdin=killing, status=69).stderr
    assert "was killed while this ran" in error
    wait_for(lambda: server.child() not in (None, before), "restarted server")
    wait_for(lambda: server.log().count(" answers on ") > 1, "answering server")
    wait_for(server.can_be_asked, "control socket")
    assert tapctl(server, "shell", "telnet", stdin="print('y' in globals())").stdout == "False\n"


def test_a_person_at_the_prompt(server: Server) -> None:
    with terminal(server, "shell", "telnet") as person:
        person.expect(">>> ")
        assert "42" in person.ask("6 * 7")
        person.type("applica\t.lineag\t")
        person.expect("application.lineage")
        person.ask("")
        person.ask("def f():", prompt="... ")
        person.ask("    return 'defined'", prompt="... ")
        person.ask("")
        assert "'defined'" in person.ask("f()")
        person.ask("if True:", prompt="... ")
        interrupt(person)
        person.expect(">>> ")
        person.enter("exec('while True: pass')")
        person.expect("\n")
        wait_for(lambda: is_spinning(server), "running code")
        person.type("\x03")
        assert "KeyboardInterrupt" in person.expect(">>> ")
        person.enter("import asyncio; print('begun'); await asyncio.sleep(99)")
        person.expect("begun\r\n")
        person.type("\x03")
        assert "KeyboardInterrupt" in person.expect(">>> ")
        assert "3" in person.ask("1 + 2")
        person.type("\x04")
        wait_for(lambda: "a shell was closed" in server.log(), "end of the shell")
    assert tapctl_json(server, "status", "telnet")["state"] == "running"


PRESSES_WHEN_SHOWN = """
import os, signal, sys
from tapd.cli.tapctl.command import main

class Shown:
    def write(self, text):
        sys.__stdout__.write(text)
        if "begun" in text:
            os.kill(os.getpid(), signal.SIGINT)
    def flush(self):
        sys.__stdout__.flush()

sys.stdout = Shown()
main()
"""


def test_c_c_pressed_as_output_is_shown_interrupts_the_server(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRESSES_WHEN_SHOWN, "shell", "telnet"],
        env=server.environ, cwd=server.tap.parent,
        input="import asyncio; print('begun')\nawait asyncio.sleep(99)\nprint('not reached')\n",
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "begun\nKeyboardInterrupt\n"
    assert (done.returncode, done.stderr) == (1, "")


PRESSES_AFTER_TAB = """
import os, signal
from tapd.cli.client import ControlClient
from tapd.cli.tapctl.command import main

def send(self, **message):
    send_message(self, **message)
    if message.get("complete") == "given_up":
        os.kill(os.getpid(), signal.SIGINT)

send_message, ControlClient.send = ControlClient.send, send
main()
"""


def test_c_c_gives_up_waiting_for_a_completion(server: Server) -> None:
    """What the server answers later is for nobody, and no answer to what comes next."""
    program = (sys.executable, "-c", PRESSES_AFTER_TAB)
    with terminal(server, "shell", "telnet", program=program) as person:
        person.expect(">>> ")
        for _ in range(2):
            person.type("given_up\t")
            person.type("\x15appl\t")
            person.expect("application")
            person.type("\x15given_up\t")
            assert "'good'" in person.ask("\x15'go' + 'od'")


def interrupt(person: TelnetTerminal) -> None:
    """Press C-c at a prompt; readline sleeps over one that comes as it begins to read."""
    for _ in range(20):
        person.type("\x03")
        with contextlib.suppress(AssertionError):
            person.expect("KeyboardInterrupt", timeout_s=5.0)
            return
    raise AssertionError(person.transcript)


def is_spinning(server: Server) -> bool:
    """Whether the server's process runs rather than waits."""
    stat = Path(f"/proc/{server.child()}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "R"


def test_an_interrupt_with_no_code_running_does_nothing(server: Server) -> None:
    tapctl(server, "shell", "telnet", stdin="pass\n")
    child = server.child()
    server.kill(signal.SIGUSR1)
    assert tapctl_json(server, "status", "telnet")["pid"] == child


def test_set_on_a_running_server_is_durable_and_audited(server: Server) -> None:
    tapctl(server, "set", "telnet", "tries=9", "namespace=private")
    options = ("password=admin", "add-user=eve", "--password-file", "-")
    tapctl(server, "set", "telnet", *options, stdin="new secret\neve's\n")
    server.kill_and_go_on()
    rows = {row["option"]: row["value"] for row in tapctl_json(server, "set", "telnet")}
    assert (rows["tries"], rows["namespace"], rows["add-user"]) == ("9", "private", "admin, eve")
    tapctl(server, "set", "telnet", "remove-user=eve")
    server.stop()
    accounts = saved(server).authorizer.accounts
    assert list(accounts) == ["admin"]
    assert verify_password(accounts["admin"].password_hash, "new secret")
    log = server.log()
    assert f"tries=9 was set by uid {os.getuid()}, process " in log
    assert "password=admin was set" in log
    assert "new secret" not in log
    assert "eve's" not in log


def test_set_changes_all_or_nothing(server: Server) -> None:
    for options in (
        ("tries=9", "history=-1"),
        ("tries=9", "nothing=1"),
        ("tries=9", "namespace=x"),
    ):
        assert "tapctl: " in tapctl(server, "set", "telnet", *options, status=64).stderr
    assert "write OPTION=VALUE" in tapctl(server, "set", "telnet", "tries", status=64).stderr
    no_terminal = tapctl(server, "set", "telnet", "password=admin", status=64).stderr
    assert "--password-file" in no_terminal
    rows = {row["option"]: row["value"] for row in tapctl_json(server, "set", "telnet")}
    assert rows["tries"] == "3"


def test_a_password_is_asked_for_twice_and_not_shown(server: Server) -> None:
    with terminal(server, "set", "telnet", "password=admin") as person:
        person.expect("Password of admin: ")
        person.enter("typed secret")
        person.expect("Repeat for confirmation: ")
        person.enter("typed secret")
        person.expect("set password")
        assert "typed secret" not in person.transcript
    server.stop()
    password_hash = saved(server).authorizer.accounts["admin"].password_hash
    assert verify_password(password_hash, "typed secret")


def test_who_sleeps_is_shown_with_what_wakes_it(server: Server) -> None:
    server.stop()
    directory = server.tap.parent / "telnet.d"
    assert "wakes" not in tapctl(server, "status", "telnet").stdout, "it was stopped"
    save_sleep(directory, math.inf)
    assert tapctl_json(server, "status", "telnet")["state"] == "stopped", "nobody would hear"
    assert "sleeping" not in tapctl(server, "list").stdout
    port = saved(server).ports[0].address.port
    ports = socket.create_server(("127.0.0.1", port))
    assert tapctl_json(server, "status", "telnet")["state"] == "sleeping"
    assert "sleeping" in tapctl(server, "list").stdout
    shown = tapctl(server, "status", "telnet").stdout
    assert re.search(r"telnet: sleeping for \d+ s with nothing to do\n", shown)
    assert re.search(r"wakes  for a client\n", shown)
    due_s = math.ceil(time.time()) + 3600
    save_sleep(directory, due_s)
    assert tapctl_json(server, "status", "telnet")["wakes_at_s"] == due_s
    at = render_time(due_s)
    assert (
        f"wakes  {at}, for a timer; or for a client\n" in tapctl(server, "status", "telnet").stdout
    )
    assert f"sleeping until {at}" in tapctl(server, "list").stdout
    ports.close()
    server.start()
    assert "wakes" not in tapctl(server, "status", "telnet").stdout


def test_set_on_a_sleeping_tap(tmp_path: Path) -> None:
    server = make_server(tmp_path)
    assert "it does not run" in tapctl(server, "set", "telnet", "tries=4").stdout
    server.start()
    try:
        rows = {row["option"]: row["value"] for row in tapctl_json(server, "set", "telnet")}
        assert rows["tries"] == "4"
    finally:
        server.end()
    tapctl(server, "set", "telnet", "password=admin", "--password-file", "-", stdin="asleep\n")
    assert verify_password(saved(server).authorizer.accounts["admin"].password_hash, "asleep")


def test_set_while_a_killed_server_is_down_loses_nothing(server: Server) -> None:
    """Neither what its journal holds nor the connections that wait for the next process."""
    port = int(server.log().split(" answers on ")[1].split()[0].rpartition(":")[2])
    client = socket.create_connection(("127.0.0.1", port), timeout=120)
    read_until(client, b"username: ")
    client.sendall(b"adm")
    wait_for(lambda: tapctl_json(server, "status", "telnet")["connections"] == 1, "client")
    tapctl(server, "shell", "telnet", stdin="application.mark = 'journaled'\n")
    assert server.process is not None
    child = server.child()
    os.kill(server.process.pid, signal.SIGSTOP)  # so that nobody starts it again
    assert child is not None
    os.kill(child, signal.SIGKILL)
    try:
        wait_for(lambda: "stopped" in tapctl(server, "list").stdout, "freed lock")
        tapctl(server, "set", "telnet", "tries=5")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    wait_for(lambda: server.log().count(" answers on ") > 1, "answering server")
    wait_for(server.can_be_asked, "control socket")
    rows = {row["option"]: row["value"] for row in tapctl_json(server, "set", "telnet")}
    assert rows["tries"] == "5"
    assert tapctl(server, "shell", "telnet", stdin="application.mark").stdout == "'journaled'\n"
    with client:
        client.sendall(b"in\r\n")
        read_until(client, b"password: ")
        client.sendall(b"woohoo\r\n")
        read_until(client, b">>> ")


def read_until(client: socket.socket, words: bytes) -> None:
    """Read what the server sends, up to `words`."""
    seen = b""
    while words not in seen:
        data = client.recv(4096)
        assert data, f"closed after {seen!r}"
        seen += data


def test_reset_sets_aside_and_deletes_nothing(server: Server) -> None:
    tapctl(server, "set", "telnet", "tries=9")
    assert "process" in tapctl(server, "reset", "telnet", status=75).stderr, "and asks nothing"
    server.stop()
    shutdown = server.tap.with_name("telnet-shutdown.tap").read_bytes()
    assert "is in" in tapctl(server, "reset", "telnet", "--yes").stdout
    assert "already" in tapctl(server, "reset", "telnet", "--yes").stdout
    service = saved(server).services["shellfactory"]
    assert isinstance(service, ShellFactory)
    assert service.tries_max == 3
    kept = [path.read_bytes() for path in server.tap.parent.glob("telnet.d.old-*/*shutdown*")]
    assert kept == [shutdown]
    server.start()


def test_export_and_import_make_a_server_of_its_own(server: Server) -> None:
    tapctl(server, "set", "telnet", "tries=9")
    server.stop()
    tapctl(server, "export", "telnet", "copy")
    assert "Made" in tapctl(server, "import", "copy", "--name", "twin", "--directory", ".").stdout
    tapctl(server, "import", "copy", "--name", "twin", "--directory", ".", status=73)
    twin = Store(server.tap.with_name("twin.tap"), server.key).load().application
    assert (twin.name, twin.services["shellfactory"].name) == ("twin", "shellfactory")
    assert twin.lineage != saved(server).lineage
    rows = {row["option"]: row["value"] for row in tapctl_json(server, "set", "twin")}
    assert rows["tries"] == "9"
