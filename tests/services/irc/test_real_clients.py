"""irssi and weechat at a terminal, beside a scripted client, through kills of the server.

What people see: they talk, the server dies in mid-conversation, they go on
talking. Neither client shows that anything happened, and each message is on the
screen once. ``python tests/services/irc/test_real_clients.py DIRECTORY`` leaves
their screens there with their colours; ``tools/terminal-picture`` makes of
weechat's the picture in `docs/irc.md`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from by_hand import Server, free_port, serving, wait_for
from tmux import Terminal

from tapd.model.application import Application
from tapd.services.irc import IrcNetwork

PROGRAMS = ("irssi", "weechat", "tmux")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
CUT_OFF = re.compile(r"(?i)disconnect|connection lost|reconnect|has quit|ping timeout")
"""What the clients say when a connection ends, their own or somebody else's."""


@pytest.fixture(autouse=True)
def _programs() -> None:
    """Skip loudly where a client is missing; fail where nothing may be skipped."""
    if MISSING:
        if os.environ.get("TAPD_REQUIRE_SYSTEM"):
            pytest.fail(f"not installed: {', '.join(MISSING)}")
        pytest.skip(f"not installed: {', '.join(MISSING)} (apt install irssi weechat-curses tmux)")


class Scripted:
    """A client that is a socket."""

    def __init__(self, port: int, nick: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.got = b""
        self.say(f"NICK {nick}\r\nUSER {nick} 0 * :{nick}\r\nJOIN #tea")
        self.wait_for(" 366 ")

    def say(self, line: str) -> None:
        """Send a line."""
        self.sock.sendall(f"{line}\r\n".encode())

    def wait_for(self, text: str) -> None:
        """Read until `text` has come."""
        self.sock.settimeout(120)
        while text.encode() not in self.got:
            data = self.sock.recv(1 << 16)
            assert data, self.got
            self.got += data


def irssi(directory: Path, port: int, nick: str) -> Terminal:
    """Start irssi, which connects."""
    home = directory / "irssi"
    home.mkdir()
    (home / "config").write_text(
        'servers = ( { address = "127.0.0.1"; chatnet = "tea"; autoconnect = "yes";'
        f" port = {port}; }} );\n"
        f'chatnets = {{ tea = {{ type = "IRC"; nick = "{nick}"; }}; }};\n'
        'channels = ( { name = "#tea"; chatnet = "tea"; autojoin = "yes"; } );\n'
        f'settings = {{ core = {{ real_name = "{nick}"; user_name = "{nick}"; }}; }};\n'
    )
    return Terminal(directory, "irssi", ["irssi", f"--home={home}"])


def weechat(directory: Path, port: int, nick: str) -> Terminal:
    """Start weechat, which connects."""
    options = f"-nicks={nick} -username={nick} -realname={nick} -autojoin=#tea"
    commands = f"/server add tea 127.0.0.1/{port} {options}; /connect tea"
    command = ["weechat", "--dir", str(directory / "weechat"), "--run-command", commands]
    return Terminal(directory, "weechat", command)


def kill(server: Server) -> None:
    """Kill the server, and wait until there is another process."""
    before = server.child()
    assert server.kill()
    wait_for(lambda: server.child() not in (before, None), "next process")


@contextlib.contextmanager
def conversation(directory: Path) -> Iterator[tuple[Server, Scripted, Terminal, Terminal]]:
    """Serve a network on which three people are."""
    port = free_port()
    application = Application("irc")
    network = IrcNetwork("Tea", "irc.tea.internal", 0.0)
    application.listen(f"127.0.0.1:{port}", network)
    with contextlib.ExitStack() as stack, serving(directory, application) as server:
        carl = Scripted(port, "carl")
        stack.callback(carl.sock.close)
        terminals = []
        # A socket's path is short, and pytest's directories are not.
        short = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for start, nick in ((irssi, "ann"), (weechat, "bob")):
            terminal = start(short, port, nick)
            stack.callback(terminal.end)
            carl.wait_for(f":{nick}!")  # JOIN
            terminals.append(terminal)
        ann, bob = terminals
        ann.type("/window goto #tea")
        for terminal in terminals:
            terminal.wait_for("#tea")
        yield server, carl, ann, bob


def talk(server: Server, carl: Scripted, ann: Terminal, bob: Terminal) -> list[str]:
    """Have all three talk, with two kills in between; return what was said."""
    says: tuple[Callable[[str], None], ...] = (
        ann.type, bob.type, lambda text: carl.say(f"PRIVMSG #tea :{text}"),
    )  # fmt: skip
    said = []
    for part, text in enumerate(("before the kill", "just after it", "after another")):
        if part:
            kill(server)
        for nick, say in zip(("ann", "bob", "carl"), says, strict=True):
            line = f"{nick} {text}"
            say(line)
            said.append(line)
            for terminal in (ann, bob):
                terminal.wait_for(line)
    return said


def test_nobody_notices(tmp_path: Path) -> None:
    with conversation(tmp_path) as (server, carl, ann, bob):
        said = talk(server, carl, ann, bob)
        for terminal in (ann, bob):
            screen = terminal.screen()
            assert CUT_OFF.search(screen) is None, screen
            assert [screen.count(line) for line in said] == [1] * len(said), screen
        carl.say("PING end")
        carl.wait_for("PONG irc.tea.internal :end")
        for line in said:
            heard = carl.got.count(f"PRIVMSG #tea :{line}\r\n".encode())
            assert heard == (not line.startswith("carl")), carl.got.decode()


def show(directory: Path) -> None:
    """Leave weechat's screen in `directory`, after a conversation through a kill."""
    with tempfile.TemporaryDirectory() as state, conversation(Path(state)) as people:
        server, carl, ann, bob = people
        ann.type("good morning! is the kettle on?")
        bob.wait_for("kettle")
        bob.type("it is. the blue cups or the white ones?")
        ann.wait_for("white ones")
        carl.say("PRIVMSG #tea :hold on, I try something: kill -9 $(pidof tapd)")
        bob.wait_for("kill -9")
        kill(server)
        ann.type("the blue ones. did you do it, carl?")
        bob.wait_for("did you do it")
        bob.type("I see nothing. are you sure?")
        ann.wait_for("are you sure")
        carl.say("PRIVMSG #tea :it was dead. another process has your connection now")
        bob.wait_for("another process")
        kill(server)
        bob.type("then kill it again :)")
        ann.wait_for("kill it again")
        carl.say("PRIVMSG #tea :I have, a second ago")
        bob.wait_for("a second ago")
        (directory / "weechat.ansi").write_text(bob.screen(colours=True))
        (directory / "irssi.ansi").write_text(ann.screen(colours=True))


if __name__ == "__main__":
    show(Path(sys.argv[1]))
