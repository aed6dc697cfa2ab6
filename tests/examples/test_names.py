"""The name service over UDP: each question is run once, whenever it is killed.

An answer may come twice, where the kill came in the instant in which it was sent.
"""

from __future__ import annotations

import socket
from pathlib import Path

from by_hand import Server, free_port
from example_play import EXAMPLES, TIMEOUT_S, load_example

from tapd.testing import Host


def test_every_question_is_run_once(tmp_path: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    application = load_example("names", "Names")
    application.listen(f"udp:127.0.0.1:{port}", application.services["names"])
    server = Server(tmp_path, application, python_path=str(EXAMPLES))
    server.start()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", port))
            client.settimeout(TIMEOUT_S)
            answer = ""
            for question, wanted in (
                ("ann=192.0.2.1", "ok"),
                ("ann?", "192.0.2.1"),
                ("bob?", "unknown"),
                ("ann=192.0.2.2", "ok"),
                ("ann?", "192.0.2.2"),
            ):
                client.send(question.encode())
                server.kill()
                before = answer
                while (answer := client.recv(100).decode()) == before:
                    pass
                assert answer == wanted
        assert "the process before was killed" in server.log()
    finally:
        server.end()


def test_a_name_lives_for_an_hour() -> None:
    application = load_example("names", "Names")
    with Host(application) as host:
        host.service().set("ann", "192.0.2.1")
        host.clock.advance(3599)
        assert host.service().values == {"ann": "192.0.2.1"}
        host.kill()
        host.clock.advance(1)
        assert host.service().values == {}
        assert host.service().expiries == {}
