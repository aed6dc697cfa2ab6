"""A datagram port on real systemd: ListenDatagram=, the sandbox, kills."""

from __future__ import annotations

import json

from booted import Booted
from shell_on_systemd import main_pid, wait_for_another_process

CODE = """
from tapd import DatagramProtocol, LineProtocol, Service


class Count(DatagramProtocol):
    count = 0

    def datagram_received(self, data, addr):
        self.count += 1
        self.transport.sendto(b"%d %b" % (self.count, data), addr)


class Lines(LineProtocol):
    def line_received(self, line):
        self.send_line(line.upper())


class Both(Service):
    protocol = Lines
    datagram_protocol = Count
"""

CLIENT = """
import json, socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.bind(("127.0.0.1", 4891))
    client.settimeout(20)
    got = []
    for text in sys.argv[1:]:
        client.sendto(text.encode(), ("127.0.0.1", 4890))
    for text in sys.argv[1:]:
        got.append(client.recv(100).decode())
with socket.create_connection(("127.0.0.1", 4890), timeout=20) as line:
    line.sendall(b"tcp\\n")
    got.append(line.recv(100).decode().strip())
print(json.dumps(got))
"""


def ask(debian: Booted, *texts: str) -> list[str]:
    """Send datagrams, and a line by TCP; return the answers."""
    answers: list[str] = json.loads(debian.output("python3", "-c", CLIENT, *texts))
    return answers


def test_streams_and_datagrams_of_one_port_number(debian: Booted) -> None:
    debian.run("mkdir", "-p", "/srv/datagrams")
    debian.write("/srv/datagrams/both.py", CODE)
    debian.run(
        "tapd-mktap", "app", "both:Both", "--path", "/srv/datagrams", "--now",
        "--port", "127.0.0.1:4890", "--port", "udp:127.0.0.1:4890",
    )  # fmt: skip
    drop_in = debian.output("systemctl", "cat", "tapd@both.socket")
    assert "ListenDatagram=127.0.0.1:4890" in drop_in
    assert ask(debian, "a", "a") == ["1 a", "2 a", "TCP"]
    before = main_pid(debian, "both")
    debian.run("kill", "-KILL", before)
    # These wait in the kernel until the next process is there.
    assert ask(debian, "b", "b") == ["3 b", "4 b", "TCP"]
    wait_for_another_process(debian, "both", before)
    debian.run("systemctl", "restart", "tapd@both")
    assert ask(debian, "c") == ["5 c", "TCP"]
    story = debian.journal("tapd@both.service", "--output=cat")
    assert "answers on udp:127.0.0.1:4890" in story
    assert "Traceback" not in story
