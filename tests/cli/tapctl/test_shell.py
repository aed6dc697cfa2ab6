"""tapctl shell: scripts, the prompt, Ctrl-C and completion."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from by_hand import Server, wait_for
from tap_commands import tapctl, tapctl_json, terminal
from telnet_terminal import TelnetTerminal

from tapd.host.prompt.interrupts import INTERRUPT


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
from tapd.host.prompt.interrupts import INTERRUPT
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
    server.kill(INTERRUPT)
    assert tapctl_json(server, "status", "telnet")["pid"] == child
