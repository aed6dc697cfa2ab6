"""Do what a documentation page shows, and compare what happens with what it says.

In what a page shows to be printed,

* ``...`` stands for any text; on a line of its own, for any number of lines;
* a date with a time stands for any;
* ``4711``, ``4712`` stand for process ids, and from then on for those that were
  seen, in commands too.

The ports 9000 to 9099 stand for ports that are free.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from by_hand import free_port
from doc_pages import Block

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120.0

_PORT = re.compile(r"(?<![\d.])90\d\d(?!\d)")
_VARYING = re.compile(r"(\.\.\.)|(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)|\b(471\d)\b")

# tapd-mktap installs for systemd where it can; a page's TAPs stay in its directory.
_MKTAP = """#!{python}
import sys
from tapd.cli.machine import Machine
from tapd.cli.mktap.command import run
sys.exit(run(sys.argv[1:], Machine(is_system=False)))
"""


class Terminal:
    """A command that goes on, and what it has printed."""

    def __init__(self, command: str, directory: Path, environ: dict[str, str]) -> None:
        self.printed = ""
        self.seen = 0  # lines that a page has shown
        self.process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=directory, env=environ, text=True, bufsize=1, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed += line

    def lines(self) -> list[str]:
        """Return the lines that no block has shown yet."""
        return self.printed.split("\n")[self.seen : -1]

    def is_alive(self) -> bool:
        """Whether more may be printed."""
        return self._reader.is_alive()

    def interrupt(self) -> None:
        """Type Ctrl-C: all that run in this terminal get SIGINT."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> None:
        """Wait until it has ended, with whatever it started."""
        try:
            self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise
        finally:
            self._reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()


class Client:
    """A connection that lines are typed into."""

    def __init__(self, host: str, port: int) -> None:
        self.sock = socket.create_connection((host, port), TIMEOUT_S)
        self.received = b""

    def type(self, line: str) -> None:
        """Send `line`."""
        self.sock.sendall(line.encode() + b"\n")

    def read_line(self) -> str:
        """Return the next line; "(closed)" at the end."""
        while b"\n" not in self.received:
            data = self.sock.recv(65536)
            if not data:
                return "(closed)"
            self.received += data
        line, self.received = self.received.split(b"\n", 1)
        return line.decode().rstrip("\r")


class Session:
    """One page, done in one directory from its first block to its last."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports: dict[str, str] = {}
        self.process_ids: dict[str, str] = {}
        self.terminals: dict[str, Terminal] = {}
        self.clients: dict[str, Client] = {}
        self.python = ""
        commands = directory / ".commands"
        commands.mkdir()
        mktap = commands / "tapd-mktap"
        mktap.write_text(_MKTAP.format(python=sys.executable))
        mktap.chmod(0o755)
        self.environ = {
            "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def do(self, block: Block) -> None:
        """Do what `block` says.

        Raises:
            AssertionError: something else happened than it shows.
        """
        text = self._with_ports(block.text)
        match block.kind:
            case "file":
                self._write(block.argument, text, block.text)
            case "console":
                for command, expected in _commands(text):
                    self._compare(expected, self._run(command), command)
            case "python":
                self._run_python(text)
            case "server":
                self._go_on(block.argument, text)
            case "client":
                self._talk(block.argument, text)
            case "not run":
                pass
            case other:
                raise AssertionError(f"nobody knows how to do {other!r}")

    def close(self) -> None:
        """Check that no client got more than the page shows; end what goes on."""
        leftovers = {}
        for name, client in self.clients.items():
            client.sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.received += client.sock.recv(65536)
            if client.received:
                leftovers[name] = client.received
        for client in self.clients.values():
            client.sock.close()
        for terminal in self.terminals.values():
            terminal.interrupt()
            terminal.end()
        assert not leftovers, f"received and not shown: {leftovers}"

    def _with_ports(self, text: str) -> str:
        def choose(match: re.Match[str]) -> str:
            return self.ports.setdefault(match[0], str(free_port()))

        return _PORT.sub(choose, text)

    def _write(self, argument: str, text: str, original: str) -> None:
        name, _, same_as = argument.partition(", same as ")
        if same_as:
            assert (ROOT / same_as).read_text() == original, f"it is not the same as {same_as}"
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path.suffix == ".py":
            compile(text, name, "exec")

    def _run(self, command: str) -> list[str]:
        for shown, seen in self.process_ids.items():
            command = re.sub(rf"\b{shown}\b", seen, command)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.directory, env=self.environ, text=True, timeout=120, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.stdout.splitlines()

    def _run_python(self, text: str) -> None:
        self.python += text + "\n"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", self.python],
            cwd=self.directory, env=self.environ, text=True, timeout=120, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout

    def _go_on(self, name: str, text: str) -> None:
        for part in filter(None, re.split(r"^(?=\^C$|\$ )", text, flags=re.MULTILINE)):
            expected = part.splitlines()
            if expected[0].startswith("$ "):
                if name in self.terminals:
                    self.terminals[name].end()
                command = expected.pop(0)[2:]
                self.terminals[name] = Terminal(command, self.directory, self.environ)
            elif expected[0] == "^C":
                del expected[0]
                self.terminals[name].interrupt()
            self._wait_for(self.terminals[name], expected)

    def _wait_for(self, terminal: Terminal, expected: list[str]) -> None:
        """Wait until `terminal` has printed what is expected, and nothing else since."""
        deadline = time.monotonic() + TIMEOUT_S
        printed = terminal.lines()
        while expected and not self._match(expected, printed):
            if time.monotonic() > deadline or not terminal.is_alive():
                self._compare(expected, terminal.lines(), "a terminal")
            time.sleep(0.01)
            printed = terminal.lines()
        terminal.seen += len(printed)  # and not what has come since

    def _talk(self, name: str, text: str) -> None:
        for line in text.splitlines():
            if line.startswith("$ "):
                words = line[2:].split()
                assert words[0] in {"nc", "telnet"}, f"{line}: which client is that?"
                self.clients[name] = Client(words[1], int(words[2]))
            elif line == ">" or line.startswith("> "):
                self.clients[name].type(line[2:])
            else:
                self._compare([line], [self.clients[name].read_line()], f"the client {name}")

    def _match(self, expected: list[str], printed: list[str]) -> bool:
        found = re.fullmatch(self._pattern(expected), "".join(line + "\n" for line in printed))
        if found:
            self.process_ids |= {
                name.removeprefix("p"): value for name, value in found.groupdict().items()
            }
        return found is not None

    def _compare(self, expected: list[str], printed: list[str], what: str) -> None:
        if not self._match(expected, printed):
            shown, seen = "\n".join(expected), "\n".join(printed)
            raise AssertionError(f"{what}\n--- shown:\n{shown}\n--- seen:\n{seen}")

    def _pattern(self, expected: list[str]) -> str:
        pattern = ""
        named: set[str] = set()
        for line in expected:
            if line == "...":
                pattern += r"(?:.*\n)*?"
                continue
            at = 0
            for match in _VARYING.finditer(line):
                pattern += re.escape(line[at : match.start()])
                at = match.end()
                if match[1]:
                    pattern += ".*?"
                elif match[2]:
                    pattern += r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
                else:
                    pattern += (
                        rf"(?P=p{match[3]})" if match[3] in named else rf"(?P<p{match[3]}>\d+)"
                    )
                    named.add(match[3])
            pattern += re.escape(line[at:]) + r"\n"
        return pattern


def _commands(text: str) -> list[tuple[str, list[str]]]:
    """Split a console block into commands and the lines that each prints."""
    commands: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif line == ">" or line.startswith("> "):
            command, printed = commands[-1]
            commands[-1] = (f"{command}\n{line[2:]}", printed)
        else:
            assert commands, f"{line!r}: a console block begins with a command"
            commands[-1][1].append(line)
    return commands
