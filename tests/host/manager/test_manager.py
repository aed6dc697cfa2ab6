"""The embedded manager, with real processes: binds, keeps, restarts, stops."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tapd.host.manager.manager import ManagerOptions, run_manager
from tapd.model.address import parse_address

_PATIENCE_S = 120.0  # after which what does not come counts as hung
_CHILD = Path(__file__).with_name("managed_child.py")
_RUN = """
import json, os, sys
from tapd.host.manager.manager import ManagerOptions, run_manager
from tapd.model.address import parse_address
from tapd.systemd.logs import configure_logging
configure_logging("test")
ports, command, options = json.loads(sys.argv[1])
addresses = [address for port in ports for address in parse_address(port)]
sys.exit(run_manager(addresses, command, os.environ, ManagerOptions(**options)))
"""


class Run:
    """A manager in a process of its own, and its child."""

    def __init__(
        self, directory: Path, ports: tuple[str, ...], command: list[str] | None, options: Any
    ) -> None:
        self.log = directory / "log"
        self.log.touch()
        command = command or [sys.executable, str(_CHILD), str(self.log)]
        temporary = directory / "tmp"
        temporary.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _RUN, json.dumps([ports, command, options])],
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(temporary), "LISTEN_PID": "1", "LISTEN_FDS": "7"},
            start_new_session=True,
        )
        self.temporary = temporary
        self.said = ""
        self.clients: list[socket.socket] = []

    def hear(self, words: str) -> str:
        """Read the manager's log until it holds `words`; return the line."""
        assert self.process.stderr is not None
        fd = self.process.stderr.fileno()
        while True:
            for line in self.said.splitlines(keepends=True):
                if words in line and line.endswith("\n"):
                    return line
            assert select.select([fd], [], [], _PATIENCE_S)[0], f"nothing more after: {self.said}"
            data = os.read(fd, 65536)
            assert data, f"ended, and only said: {self.said}"
            self.said += data.decode()

    def await_log(self, words: str, count: int = 1) -> list[str]:
        """Wait until the child's log has `count` lines with `words`; return them."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            found = [line for line in self.log.read_text().splitlines() if words in line]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline_s, (self.log.read_text(), self.said)
            time.sleep(0.005)  # between two looks at the condition

    def port(self) -> int:
        return int(self.hear("listening on 127.0.0.1:").rpartition(":")[2])

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port()), timeout=120)
        self.clients.append(client)
        return client

    def end(self) -> int:
        """Wait for the manager's end; return its exit status."""
        _, rest = self.process.communicate(timeout=_PATIENCE_S)
        self.said += rest.decode()
        return self.process.returncode

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.terminate()
                self.process.communicate(timeout=5)
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def manage(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(
        *ports: str,
        command: list[str] | None = None,
        ready: bool = True,
        **options: Any,
    ) -> Run:
        directory = tmp_path / str(len(runs))
        directory.mkdir()
        run = Run(directory, ports or ("127.0.0.1:0",), command, {"watchdog_s": None} | options)
        runs.append(run)
        if ready:
            run.await_log("ready")
        return run

    yield start
    for run in runs:
        run.close()


def ask(client: socket.socket, line: str) -> str:
    client.sendall(line.encode() + b"\n")
    return hear_line(client)


def hear_line(client: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\n"):
        more = client.recv(1)
        if not more:
            break
        data += more
    return data.decode().strip()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it ended before, or after, the open
        return False


def await_death(pid: int) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while is_alive(pid):
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


# --- what the child gets ---------------------------------------------------------------


def test_the_child_gets_its_sockets_and_nothing_of_the_managers_own(
    manage: Callable[..., Run],
) -> None:
    run = manage("127.0.0.1:0", "0", name="telnet", watchdog_s=20.0)
    (line,) = run.await_log("start")
    assert line.split()[2] == ":".join(["tapd@telnet.socket"] * 3)
    client = run.connect()
    pid = ask(client, "pid")
    assert ask(client, "env WATCHDOG_PID") == pid
    assert ask(client, "env WATCHDOG_USEC") == "20000000"
    assert ask(client, "env FDSTORE") == "1024"
    assert ask(client, "env LISTEN_FDS") == "-"


def test_two_loopbacks_share_a_port_that_was_picked(manage: Callable[..., Run]) -> None:
    run = manage("0")
    assert int(run.hear("listening on [::1]:").rpartition(":")[2]) == run.port()


# --- deaths ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["kill 9", "kill 11", "exit 1", "exit 79"])
def test_connections_outlive_an_unclean_death(manage: Callable[..., Run], way: str) -> None:
    run = manage()
    clients = [run.connect() for _ in range(3)]
    pids = {ask(client, "pid") for client in clients}
    clients[0].sendall(way.encode() + b"\n")
    run.await_log("ready", 2)
    assert [line.split()[-1] for line in run.await_log("start")] == ["0", "3"]
    for client in clients:
        assert ask(client, "echo again") == "echo again"
    assert ask(clients[0], "pid") not in pids
    assert ask(run.connect(), "echo new") == "echo new"
    assert "starting it again in 0.1 s" in run.hear("server")


def test_a_client_that_comes_during_the_outage_waits(manage: Callable[..., Run]) -> None:
    run = manage(restart_s=0.3)
    first = run.connect()
    first.sendall(b"kill 9\n")
    run.hear("starting it again")
    assert ask(run.connect(), "echo late") == "echo late"


def test_a_few_deaths_in_a_row_lose_nothing(manage: Callable[..., Run]) -> None:
    run = manage(restart_s=0.0)
    client = run.connect()
    for number in range(5):
        assert ask(client, f"echo {number}") == f"echo {number}"
        client.sendall(b"kill 9\n")
        # This server reads what it then loses: wait until "kill" was the last of it.
        run.await_log("start", number + 2)
    assert ask(client, "echo there") == "echo there"


@pytest.mark.parametrize("status", [64, 78])
def test_ends_that_are_final(manage: Callable[..., Run], status: int) -> None:
    run = manage()
    run.connect().sendall(f"exit {status}\n".encode())
    assert run.end() == status
    assert len(run.await_log("start")) == 1


def test_a_process_that_just_ends_is_started_again(manage: Callable[..., Run]) -> None:
    """As with Restart=always: status 0 alone does not say that anybody wanted that."""
    run = manage()
    client = run.connect()
    client.sendall(b"exit 0\n")
    run.await_log("start", 2)
    assert ask(client, "echo there") == "echo there"


def test_a_server_that_ends_itself_ends_the_manager(manage: Callable[..., Run]) -> None:
    run = manage()
    run.connect().sendall(b"idle\n")
    assert run.end() == 0


def test_a_sleeping_server_is_woken_by_a_client(manage: Callable[..., Run]) -> None:
    run = manage()
    with run.connect() as first:
        before = ask(first, "pid")
        first.sendall(b"exit 150\n")
        run.hear("the server sleeps")
    assert not is_alive(int(before))
    assert len(run.await_log("start")) == 1
    assert ask(run.connect(), "pid") != before
    run.hear("a client came")


def test_a_sleeping_server_is_woken_when_it_wished(manage: Callable[..., Run]) -> None:
    run = manage()
    run.connect().sendall(b"sleep 0.3\n")
    run.hear("a timer is due")
    run.await_log("start", 2)


def test_stop_while_the_server_sleeps(manage: Callable[..., Run]) -> None:
    run = manage()
    run.connect().sendall(b"exit 150\n")
    run.hear("the server sleeps")
    run.process.terminate()
    assert run.end() == 0


def test_a_crash_loop_is_slowed_and_explained(manage: Callable[..., Run]) -> None:
    run = manage(
        command=[sys.executable, "-c", "import os; os._exit(1)"],
        ready=False,
        restart_s=0.01,
        restart_max_s=0.03,
    )
    assert "it has died 6 times in a row" in run.hear("next start waits 0.0 s")
    assert "it has died 8 times in a row" in run.hear("died 8 times")
    run.process.terminate()
    assert run.end() == 1, "the status of the last death"


def test_kills_in_the_start_are_slowed_little(manage: Callable[..., Run]) -> None:
    """They may come from outside, and what loads the state knows when they do not."""
    run = manage(
        command=[sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"],
        ready=False,
        restart_s=0.01,
        restart_max_s=1.0,
    )
    assert "next start waits 0.1 s" in run.hear("died 12 times in a row")
    run.process.terminate()
    assert run.end() == 128 + 9


def test_kills_from_outside_are_not_slowed(manage: Callable[..., Run]) -> None:
    """However soon after its start: what runs is not what does it."""
    run = manage(restart_s=0.01, restart_max_s=30.0)
    for count in range(1, 10):
        run.await_log("ready", count)
        run.connect().sendall(b"kill 9\n")
    run.await_log("ready", 10)
    assert "next start waits" not in run.said


def test_a_program_that_is_not_there(manage: Callable[..., Run]) -> None:
    run = manage(command=["no-such-program-at-all"], ready=False)
    assert run.end() == 69
    assert "no program 'no-such-program-at-all'" in run.said


def test_a_program_that_may_not_run(manage: Callable[..., Run], tmp_path: Path) -> None:
    """No restart mends it, unlike a lack of processes or memory."""
    program = tmp_path / "program"
    program.write_bytes(b"neither a script nor a program\0")
    program.chmod(0o755)
    run = manage(command=[str(program)], ready=False)
    assert run.end() == 69
    assert f"can't start {program}" in run.said


def test_a_program_that_can_not_run(manage: Callable[..., Run], tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/nonexistent/interpreter\n")
    program.chmod(0o755)
    run = manage(command=[str(program)], ready=False)
    assert run.end() == 69
    assert f"can't start {program}" in run.said


# --- stopping and restarting --------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop(manage: Callable[..., Run], number: int) -> None:
    run = manage()
    client = run.connect()
    assert ask(client, "echo x") == "echo x"
    run.process.send_signal(number)
    assert run.end() == 0
    run.await_log("SIGTERM parent=same")
    assert hear_line(client) == "", "a stop closes connections"
    assert list(run.temporary.iterdir()) == []


def test_hurrying_a_slow_stop(manage: Callable[..., Run]) -> None:
    run = manage()
    ask(run.connect(), "slow")
    run.process.send_signal(signal.SIGINT)
    run.await_log("SIGTERM")
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 3
    run.await_log("SIGINT")
    assert "while stopping" in run.said


def test_the_third_ctrl_c_kills(manage: Callable[..., Run]) -> None:
    run = manage()
    ask(run.connect(), "stubborn")
    run.process.send_signal(signal.SIGINT)
    run.await_log("SIGTERM")
    run.process.send_signal(signal.SIGINT)
    run.await_log("SIGINT")
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 128 + 9


def test_a_stop_that_takes_too_long(manage: Callable[..., Run]) -> None:
    run = manage(stop_timeout_s=0.1)
    ask(run.connect(), "slow")
    run.process.terminate()
    assert run.end() == 128 + 9
    assert "did not stop in time" in run.said


def test_a_stopped_child_still_stops(manage: Callable[..., Run]) -> None:
    run = manage()
    (line,) = run.await_log("start")
    os.kill(int(line.split()[1]), signal.SIGSTOP)
    run.process.terminate()
    assert run.end() == 0


def test_hangup_is_passed_on_and_new_code_keeps_connections(manage: Callable[..., Run]) -> None:
    run = manage(restart_s=60.0)  # this is no death to wait after
    client = run.connect()
    pid = ask(client, "pid")
    run.process.send_signal(signal.SIGHUP)
    run.await_log("SIGHUP")
    assert ask(client, "pid") == pid
    ask(client, "renew")
    run.process.send_signal(signal.SIGHUP)
    run.await_log("ready", 2)
    assert ask(client, "pid") != pid
    run.hear("ended for its new code")
    run.process.terminate()
    assert run.end() == 0


def test_hangup_at_the_start_is_passed_on_once_it_can_be_taken(
    manage: Callable[..., Run],
) -> None:
    run = manage(ready=False)
    run.await_log("start")
    run.process.send_signal(signal.SIGHUP)
    run.await_log("SIGHUP")
    run.await_log("start", 1)
    run.process.terminate()
    assert run.end() == 0


def test_no_process_can_be_made_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a fork bomb: the connections that it holds would end with it."""
    tries: list[OSError] = [BlockingIOError(errno.EAGAIN, "no"), OSError(errno.ENOMEM, "no")]

    def spawn(*_given: object) -> NoReturn:
        raise tries.pop(0) if tries else FileNotFoundError("no such program")

    monkeypatch.setattr("tapd.host.manager.manager.spawn", spawn)
    options = ManagerOptions(restart_max_s=0.1)
    addresses = parse_address("127.0.0.1:0")
    assert run_manager(list(addresses), ["tapd"], {}, options) == os.EX_UNAVAILABLE
    assert tries == []


def test_stop_while_nothing_runs(manage: Callable[..., Run]) -> None:
    run = manage(restart_s=60.0)
    run.connect().sendall(b"kill 9\n")
    run.hear("starting it again")
    run.process.terminate()
    assert run.end() == 128 + 9


def test_stop_while_the_server_starts(manage: Callable[..., Run], tmp_path: Path) -> None:
    """Before it takes signals, SIGTERM ends it as it ends any process: that is a stop."""
    log = tmp_path / "0" / "log"
    script = f"import signal; open({str(log)!r}, 'a').write('start\\n'); signal.pause()"
    run = manage(command=[sys.executable, "-c", script], ready=False)
    run.await_log("start")
    run.process.terminate()
    assert run.end() == 0


def test_the_child_stops_when_the_manager_is_killed(manage: Callable[..., Run]) -> None:
    run = manage()
    (line,) = run.await_log("start")
    run.process.kill()
    run.await_log("SIGTERM parent=gone")
    await_death(int(line.split()[1]))


def test_a_terminal_that_goes_away_stops(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    command = [sys.executable, str(_CHILD), str(log)]
    arguments = json.dumps([["127.0.0.1:0"], command, {"watchdog_s": None}])
    master, terminal = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", sys.executable, "-c", _RUN, arguments],
        stdin=terminal,
        stderr=subprocess.DEVNULL,
    )
    os.close(terminal)
    deadline_s = time.monotonic() + _PATIENCE_S
    while "ready" not in log.read_text():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    os.close(master)
    while "SIGTERM" not in log.read_text():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    process.wait(_PATIENCE_S)
    assert log.read_text().count("start") == 1


# --- the watchdog and other deadlines -------------------------------------------------------


def test_a_loop_that_stands_still_is_aborted(manage: Callable[..., Run]) -> None:
    run = manage(watchdog_s=1.0)
    client = run.connect()
    client.sendall(b"hang\n")
    run.await_log("ready", 2)
    assert "SIGABRT" in run.hear("killed by")
    assert ask(client, "echo x") == "echo x"


def test_the_watchdog_wakes_a_stopped_process(manage: Callable[..., Run]) -> None:
    run = manage(watchdog_s=1.0)
    (line,) = run.await_log("start")
    os.kill(int(line.split()[1]), signal.SIGSTOP)
    run.await_log("ready", 2)


def test_ctrl_z_and_fg_are_no_hang(manage: Callable[..., Run]) -> None:
    """A shell stops the whole group, for longer than the watchdog waits."""
    run = manage(watchdog_s=2.0)
    client = run.connect()
    pid = ask(client, "pid")
    os.killpg(run.process.pid, signal.SIGSTOP)
    time.sleep(2.5)  # it is time that has to pass
    os.killpg(run.process.pid, signal.SIGCONT)
    assert ask(client, "pid") == pid
    run.process.terminate()
    assert run.end() == 0
    assert "stood still" not in run.said


def test_the_child_may_ask_for_its_abort(manage: Callable[..., Run]) -> None:
    run = manage()
    run.connect().sendall(b"trigger\n")
    run.await_log("ready", 2)


def test_an_abort_that_is_ignored(manage: Callable[..., Run]) -> None:
    run = manage(
        command=["sh", "-c", "trap '' ABRT; exec sleep 600"],
        ready=False,
        start_timeout_s=0.5,
        abort_timeout_s=0.05,
    )
    run.hear("was not ready in 0.5 s")
    run.hear("killed by SIGKILL")


def test_extending_a_slow_start(manage: Callable[..., Run]) -> None:
    script = (
        "import os, select, socket\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "s.connect(os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1))\n"
        "s.send(b'EXTEND_TIMEOUT_USEC=60000000')\n"
        "select.select([], [], [], 3.3)\n"
        "s.send(b'STOPPING=1')\n"
    )
    # Bare, so that it asks soon, on a busy machine as well.
    command = [sys.executable, "-IS", "-c", script]
    run = manage(command=command, ready=False, start_timeout_s=3.0)
    assert run.end() == 0
    assert "not ready" not in run.said


# --- the fd store -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["echo", "remove", "hangup"])
def test_polled_descriptors_leave_the_store(manage: Callable[..., Run], command: str) -> None:
    """FDPOLL: the pipe's writing end dies with the child, or before; segments stay."""
    run = manage()
    client = run.connect()
    ask(client, "store")
    ask(client, command)
    client.sendall(b"kill 9\n")
    line = run.await_log("start", 2)[-1]
    assert "tapd-polled" not in line
    assert line.count("tapd-vault-") == 1


def test_others_may_not_speak_for_the_child(manage: Callable[..., Run]) -> None:
    run = manage()
    client = run.connect()
    ask(client, "impostor")
    run.hear("refused a notify message")
    client.sendall(b"kill 9\n")
    assert "tapd-impostor" not in run.await_log("start", 2)[-1]


def test_a_full_store_is_said(manage: Callable[..., Run]) -> None:
    run = manage(descriptors_max=1)
    client = run.connect()
    ask(client, "store")
    run.hear("refused: tapd-polled")
