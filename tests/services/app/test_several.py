"""A line service with a telnet shell beside it: two ports, one state, killed."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from by_hand import free_port, serving, wait_for
from telnet_terminal import TelnetTerminal
from till_service import make_application


def test_a_shell_sees_and_changes_what_a_line_service_keeps(tmp_path: Path) -> None:
    till_port, shell_port = free_port(), free_port()
    application = make_application(till_port, shell_port)
    with (
        serving(tmp_path, application) as server,
        socket.create_connection(("127.0.0.1", till_port), timeout=120) as till,
        socket.create_connection(("127.0.0.1", shell_port), timeout=120) as shell,
    ):
        terminal = TelnetTerminal(shell.fileno())
        terminal.expect("username: ")
        terminal.enter("admin")
        terminal.expect("password: ")
        terminal.enter("woohoo")
        terminal.expect(">>> ")
        answers = till.makefile("rb")
        till.sendall(b"40\n")
        assert answers.readline() == b"sum 40\r\n"
        terminal.ask("import __main__; till = __main__.application.services['till']")
        assert "40" in terminal.ask("till.sum")
        terminal.ask("till.label = 'total'")
        till.sendall(b"1\n1")
        assert answers.readline() == b"total 41\r\n"
        before = server.child()
        server.kill(signal.SIGKILL)
        wait_for(lambda: server.child() not in (None, before), "next process")
        till.sendall(b"0\n")  # the "1" of this 10 came before the kill
        assert answers.readline() == b"total 51\r\n"
        assert "51" in terminal.ask("till.sum")
        assert "(['shell', 'shell'], ['till', 'shell'])" in terminal.ask(
            "(list(till.opened_after), list(__main__.application.services))"
        )
        assert server.stop() == 0
